//! The chain of shapes that a state has had.

use std::collections::BTreeMap;

use serde::{Serialize, de::DeserializeOwned};

/// One shape of a state, linked to the shape before it.
///
/// A published shape never changes; a new one is a new type with the next number. The essay at
/// the top of the crate says how the two directions work together.
pub trait Version: Serialize + DeserializeOwned + Clone + Default {
    /// Counts the shapes, from 1.
    const NUMBER: u32;

    /// The shape before this one, [`Beginning`] for the first.
    type Previous: Chain;

    /// This shape from the one before. `before` is what this shape last was, when an older
    /// program has run since; it is where to find what the older shape could not hold.
    fn up(previous: Self::Previous, before: Option<Self>) -> Self;

    /// The older shape of this value, which an older program would go on with. `None` only for
    /// the first of the chain.
    fn down(&self) -> Option<Self::Previous>;
}

/// Makes a type the first [`Version`] of a state.
///
/// ```
/// #[derive(Clone, Default, serde::Serialize, serde::Deserialize)]
/// struct Kept {
///     number: u64,
/// }
/// store::first_version!(Kept);
/// ```
#[macro_export]
macro_rules! first_version {
    ($shape:ty) => {
        impl $crate::Version for $shape {
            const NUMBER: u32 = 1;
            type Previous = $crate::Beginning;

            fn up(previous: $crate::Beginning, _: Option<Self>) -> Self {
                match previous {}
            }

            fn down(&self) -> Option<$crate::Beginning> {
                None
            }
        }
    };
}

/// Where a chain of versions begins. There is no value of it.
#[derive(Clone, Copy, Debug)]
pub enum Beginning {}

/// The forms of one state: its shapes by number, as they stand in a file.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Forms(pub BTreeMap<u32, toml::Table>);

/// Why the forms in a file make no value.
#[derive(Debug, thiserror::Error)]
pub enum FormsError {
    /// There is no form that this program knows.
    #[error("it holds only versions that this release does not know ({found}; it knows {known})")]
    Unknown {
        /// The versions in the file.
        found: String,
        /// The newest version that this program knows.
        known: u32,
    },
    /// A form is not of the shape that its number promises.
    #[error("its version {version} does not have that version's shape: {reason}")]
    Shape {
        /// The version that does not fit.
        version: u32,
        /// What is wrong.
        reason: String,
    },
}

/// What [`Version`] and [`Beginning`] have in common: reading from forms, and writing to them.
/// It is implemented for every [`Version`]; nobody else needs to.
pub trait Chain: Sized {
    /// The newest version of this chain, 0 for [`Beginning`].
    const NEWEST: u32;

    /// The value that `written` (the version of the program that wrote last) left, brought up to
    /// this version.
    fn from_forms(forms: &Forms, written: u32) -> Result<Self, FormsError>;

    /// Adds this value's form, and those of all versions before it.
    fn to_forms(&self, forms: &mut Forms) -> Result<(), FormsError>;
}

impl Chain for Beginning {
    const NEWEST: u32 = 0;

    fn from_forms(forms: &Forms, _written: u32) -> Result<Self, FormsError> {
        let found: Vec<_> = forms.0.keys().map(u32::to_string).collect();
        let found = if found.is_empty() {
            "none".to_owned()
        } else {
            found.join(", ")
        };
        Err(FormsError::Unknown { found, known: 0 })
    }

    fn to_forms(&self, _forms: &mut Forms) -> Result<(), FormsError> {
        match *self {}
    }
}

impl<V: Version> Chain for V {
    const NEWEST: u32 = V::NUMBER;

    fn from_forms(forms: &Forms, written: u32) -> Result<Self, FormsError> {
        let own = forms.0.get(&V::NUMBER).map(|form| {
            form.clone()
                .try_into::<V>()
                .map_err(|error| FormsError::Shape {
                    version: V::NUMBER,
                    reason: error.message().to_owned(),
                })
        });
        // Written by this version or a newer one, so this form is as new as any in the file.
        if V::NUMBER <= written
            && let Some(own) = own
        {
            return own;
        }
        // An older program has written since: its value is the truth, ours is what to remember.
        // A remembered form that cannot be read any more is not worth losing the truth for.
        let before = own.and_then(Result::ok);
        match V::Previous::from_forms(forms, written) {
            Ok(previous) => Ok(V::up(previous, before)),
            Err(FormsError::Unknown { found, .. }) => Err(FormsError::Unknown {
                found,
                known: V::NUMBER,
            }),
            Err(other) => Err(other),
        }
    }

    fn to_forms(&self, forms: &mut Forms) -> Result<(), FormsError> {
        let form = toml::Table::try_from(self).map_err(|error| FormsError::Shape {
            version: V::NUMBER,
            reason: error.to_string(),
        })?;
        forms.0.insert(V::NUMBER, form);
        match self.down() {
            Some(previous) => previous.to_forms(forms),
            None => Ok(()),
        }
    }
}
