//! A list that nearly always has one element at most, which then takes no memory of its own.

use std::ops::{Deref, DerefMut};

/// A list of few elements; it is a slice of them.
#[derive(Clone, Debug)]
pub enum Few<T> {
    /// One, or none.
    UpToOne(Option<T>),
    /// Any number.
    Any(Vec<T>),
}

impl<T> Few<T> {
    /// A list of this alone.
    pub fn one(only: T) -> Self {
        Self::UpToOne(Some(only))
    }

    /// Adds one at the end.
    pub fn push(&mut self, new: T) {
        match self {
            Self::UpToOne(only @ None) => *only = Some(new),
            Self::UpToOne(first) => *self = Self::Any(first.take().into_iter().chain([new]).collect()),
            Self::Any(all) => all.push(new),
        }
    }

    /// Drops those of which `stays` says no.
    pub fn retain(&mut self, stays: impl Fn(&T) -> bool) {
        match self {
            Self::UpToOne(only) => drop(only.take_if(|only| !stays(only))),
            Self::Any(all) => all.retain(stays),
        }
    }
}

impl<T> Default for Few<T> {
    fn default() -> Self {
        Self::UpToOne(None)
    }
}

impl<T> Deref for Few<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        match self {
            Self::UpToOne(only) => only.as_slice(),
            Self::Any(all) => all,
        }
    }
}

impl<T> DerefMut for Few<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        match self {
            Self::UpToOne(only) => only.as_mut_slice(),
            Self::Any(all) => all,
        }
    }
}

impl<T> From<Vec<T>> for Few<T> {
    fn from(all: Vec<T>) -> Self {
        if all.is_empty() { Self::default() } else { Self::Any(all) }
    }
}

impl<T> From<Few<T>> for Vec<T> {
    fn from(few: Few<T>) -> Self {
        match few {
            Few::UpToOne(only) => only.into_iter().collect(),
            Few::Any(all) => all,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_list_that_a_vector_would_be() {
        for count in 0..5 {
            let (mut few, mut all) = (Few::default(), Vec::new());
            for number in 0..count {
                few.push(number);
                all.push(number);
            }
            assert_eq!(*few, *all);
            assert_eq!(Vec::from(Few::from(all.clone())), all);
            assert_eq!(Vec::from(few.clone()), all);
            for kept in 0..8 {
                let (mut few, mut all) = (few.clone(), all.clone());
                few.retain(|number| kept >> number & 1 == 1);
                all.retain(|number| kept >> number & 1 == 1);
                assert_eq!(*few, *all);
                few.push(9);
                all.push(9);
                few.iter_mut().for_each(|number| *number += 1);
                all.iter_mut().for_each(|number| *number += 1);
                assert_eq!(*few, *all);
            }
        }
        assert_eq!(*Few::one('a'), ['a']);
    }
}
