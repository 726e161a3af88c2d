//! A list that is empty more often than not, in eight octets.

use std::fmt;
use std::ops::{Deref, DerefMut};

/// A list for what most have none of: where it is empty it takes a third of a vector's room.
#[derive(Clone, Eq, Hash, PartialEq)]
#[expect(clippy::box_collection, reason = "that is what it is for: 8 octets instead of 24")]
pub struct List<T>(Option<Box<Vec<T>>>);

impl<T> List<T> {
    /// Without items.
    #[must_use]
    pub const fn new() -> Self {
        Self(None)
    }

    /// Changes it as a vector. An empty one is always the same.
    pub fn edit<R>(&mut self, change: impl FnOnce(&mut Vec<T>) -> R) -> R {
        let mut items = self.0.take().map_or_else(Vec::new, |items| *items);
        let result = change(&mut items);
        *self = items.into();
        result
    }

    /// Adds an item behind the others.
    pub fn push(&mut self, item: T) {
        self.edit(|items| items.push(item));
    }

    /// Takes all items out.
    pub fn clear(&mut self) {
        self.0 = None;
    }
}

impl<T> Default for List<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> From<Vec<T>> for List<T> {
    fn from(mut items: Vec<T>) -> Self {
        items.shrink_to_fit();
        Self((!items.is_empty()).then(|| Box::new(items)))
    }
}

impl<T> FromIterator<T> for List<T> {
    fn from_iter<I: IntoIterator<Item = T>>(items: I) -> Self {
        items.into_iter().collect::<Vec<_>>().into()
    }
}

impl<T> Deref for List<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        self.0.as_ref().map_or(&[], |items| items)
    }
}

impl<T> DerefMut for List<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        self.0.as_mut().map_or(&mut [], |items| items)
    }
}

impl<'a, T> IntoIterator for &'a List<T> {
    type Item = &'a T;
    type IntoIter = std::slice::Iter<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl<'a, T> IntoIterator for &'a mut List<T> {
    type Item = &'a mut T;
    type IntoIter = std::slice::IterMut<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter_mut()
    }
}

impl<T: fmt::Debug> fmt::Debug for List<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_emptied_list_is_as_one_that_never_had_anything() {
        let mut list: List<u8> = vec![1, 2].into();
        list.push(3);
        list.edit(|items| items.retain(|item| *item == 2));
        assert_eq!((&*list, size_of_val(&list)), (&[2][..], 8));
        list.edit(Vec::clear);
        assert_eq!((&list, list.len()), (&List::new(), 0));
        assert_eq!(list, Vec::new().into());
    }
}
