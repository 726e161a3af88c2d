//! Sets of sites: which sites the tied best routes of an AS lead to.

use std::ops::{BitAnd, BitOr, BitOrAssign};

/// How many sites a configuration may have.
pub const MAX_SITES: usize = 64;

/// A set of sites, each by its place in the configuration.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct SiteSet(pub(crate) u64);

impl SiteSet {
    /// No site.
    pub const EMPTY: Self = Self(0);

    /// The set of one site.
    ///
    /// # Panics
    /// If `site` is not below [`MAX_SITES`].
    #[must_use]
    pub const fn one(site: usize) -> Self {
        assert!(site < MAX_SITES, "a site's place is below MAX_SITES");
        Self(1 << site)
    }

    /// Whether `site` is in the set.
    #[must_use]
    pub const fn contains(self, site: usize) -> bool {
        site < MAX_SITES && self.0 >> site & 1 == 1
    }

    /// How many sites there are.
    #[must_use]
    pub const fn len(self) -> usize {
        self.0.count_ones() as usize
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The sites, lowest first.
    pub fn iter(self) -> impl Iterator<Item = usize> {
        let mut left = self.0;
        std::iter::from_fn(move || {
            (left != 0).then(|| {
                let site = left.trailing_zeros() as usize;
                left &= left - 1;
                site
            })
        })
    }

    /// The only site, if there is exactly one.
    #[must_use]
    pub const fn single(self) -> Option<usize> {
        if self.0.is_power_of_two() { Some(self.0.trailing_zeros() as usize) } else { None }
    }

    /// The set without the sites of `other`.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }
}

impl BitOr for SiteSet {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitOrAssign for SiteSet {
    fn bitor_assign(&mut self, other: Self) {
        self.0 |= other.0;
    }
}

impl BitAnd for SiteSet {
    type Output = Self;

    fn bitand(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}

impl FromIterator<usize> for SiteSet {
    fn from_iter<I: IntoIterator<Item = usize>>(sites: I) -> Self {
        sites.into_iter().fold(Self::EMPTY, |set, site| set | Self::one(site))
    }
}
