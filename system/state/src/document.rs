//! Which documents there are, and whose word counts in which.
//!
//! | document | read by | written by |
//! |---|---|---|
//! | `family`: names, rooms | owner's and shared devices | owner's devices |
//! | `person`: settings that follow the person | owner's devices | owner's devices |
//! | `device/<id>`: what a device says about itself | that device, owner's devices | the same |
//!
//! A change has no signature: whose it is, is who brings it. So a copy takes updates of those alone
//! that may write the document, whoever made the changes in them, and the others only read. A
//! shared device in a living room cannot call itself something else in the eyes of the family, nor
//! say what another device is; and it does not get the person's settings, for many people use it.

use std::fmt;

use bus::family::Role;

/// A document of a family.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Document {
    /// What is known to all devices that stand in the home.
    Family,
    /// What is the person's.
    Person,
    /// What a device, by its id, says about itself.
    Device(String),
}

impl Document {
    /// The document of that name.
    pub fn parse(name: &str) -> Option<Self> {
        match name {
            "family" => Some(Self::Family),
            "person" => Some(Self::Person),
            _ => {
                let id = name.strip_prefix("device/")?;
                let digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
                (id.len() == 64 && id.bytes().all(digit)).then(|| Self::Device(id.to_owned()))
            }
        }
    }

    /// Whether a device of that role and id may read it.
    pub fn is_read_by(&self, role: Role, device: &str) -> bool {
        match (role, self) {
            (Role::Owner, _) => true,
            (Role::Shared, Self::Family) => true,
            (_, Self::Device(id)) => id == device,
            (_, Self::Family | Self::Person) => false,
        }
    }

    /// Whether an update of it is taken from a device of that role and id.
    pub fn is_written_by(&self, role: Role, device: &str) -> bool {
        match (role, self) {
            (Role::Owner, _) => true,
            (_, Self::Device(id)) => id == device,
            (_, Self::Family | Self::Person) => false,
        }
    }

    /// The name of its file.
    pub fn file(&self) -> String {
        self.to_string().replace('/', "-")
    }
}

impl fmt::Display for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Family => f.write_str("family"),
            Self::Person => f.write_str("person"),
            Self::Device(id) => write!(f, "device/{id}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_written_and_no_others() {
        let device = Document::Device("0a".repeat(32));
        for document in [Document::Family, Document::Person, device] {
            assert_eq!(Document::parse(&document.to_string()), Some(document));
        }
        let upper = format!("device/{}", "0A".repeat(32));
        for name in ["", "device/", "device/../family", "families", &upper] {
            assert_eq!(Document::parse(name), None, "{name}");
        }
    }

    #[test]
    fn whose_word_counts() {
        let device = Document::Device("tv".into());
        let (family, person) = (Document::Family, Document::Person);
        let rights = |role, id| {
            [&family, &person, &device].map(|document| {
                (
                    document.is_read_by(role, id),
                    document.is_written_by(role, id),
                )
            })
        };
        let (both, none, reads) = ((true, true), (false, false), (true, false));
        assert_eq!(rights(Role::Owner, "phone"), [both, both, both]);
        assert_eq!(rights(Role::Shared, "tv"), [reads, none, both]);
        assert_eq!(rights(Role::Shared, "radio"), [reads, none, none]);
        assert_eq!(rights(Role::Guest, "tv"), [none, none, both]);
        assert_eq!(rights(Role::Guest, "car"), [none, none, none]);
    }
}
