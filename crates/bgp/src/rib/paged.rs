//! A vector in pages: it grows without moving what it holds, so that no single step waits for a
//! copy of a whole table, and what nothing was put in takes no room.

const PAGE: usize = 512;

/// Items by number; those never set are as by default.
#[derive(Clone, Debug, Default)]
pub(super) struct Paged<T> {
    pages: Vec<Option<Box<[T]>>>,
}

impl<T: Clone + Default> Paged<T> {
    /// The item, if its page exists.
    pub(super) fn get(&self, at: u32) -> Option<&T> {
        let at = at as usize;
        self.pages.get(at / PAGE)?.as_ref().map(|page| &page[at % PAGE])
    }

    /// The item; its page is made if need be.
    pub(super) fn slot(&mut self, at: u32) -> &mut T {
        let (page, within) = (at as usize / PAGE, at as usize % PAGE);
        if page >= self.pages.len() {
            self.pages.resize_with(page + 1, || None);
        }
        let page = &mut self.pages[page];
        &mut page.get_or_insert_with(|| vec![T::default(); PAGE].into_boxed_slice())[within]
    }

    /// The number of the first item from `at` on, in the pages that exist, that is wanted.
    pub(super) fn find_from(&self, at: u32, wanted: impl Fn(&T) -> bool) -> Option<u32> {
        let first = at as usize / PAGE;
        let pages = self.pages.iter().enumerate().skip(first);
        for (number, page) in pages.filter_map(|(number, page)| Some((number, page.as_ref()?))) {
            let from = if number == first { at as usize % PAGE } else { 0 };
            if let Some(within) = page[from..].iter().position(&wanted) {
                return u32::try_from(number * PAGE + from + within).ok();
            }
        }
        None
    }

    /// The items of the pages that exist.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &T)> {
        let pages = (0_u32..).step_by(PAGE).zip(&self.pages);
        pages.flat_map(|(first, page)| (first..).zip(page.iter().flat_map(|page| page.iter())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_pages_that_were_written_to_exist() {
        let mut paged = Paged::default();
        assert_eq!(paged.get(0), None);
        *paged.slot(3 * 512 + 5) = 7_u32;
        assert_eq!(paged.get(3 * 512 + 5), Some(&7));
        assert_eq!(paged.get(3 * 512 + 6), Some(&0));
        assert_eq!(paged.get(3 * 512 - 1), None);
        assert_eq!(paged.iter().count(), 512);
        assert_eq!(paged.iter().find(|(_, item)| **item == 7), Some((3 * 512 + 5, &7)));
        assert_eq!(paged.find_from(0, |item| *item == 7), Some(3 * 512 + 5));
        assert_eq!(paged.find_from(3 * 512 + 6, |item| *item == 7), None);
        assert_eq!(paged.find_from(3 * 512 + 6, |item| *item == 0), Some(3 * 512 + 6));
        *paged.slot(0) += 1;
        assert_eq!((paged.get(0), paged.get(511), paged.get(512)), (Some(&1), Some(&0), None));
    }
}
