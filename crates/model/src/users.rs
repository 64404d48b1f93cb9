//! `userlist`: users, their passwords and groups (manual section 3.4).

use sha_crypt::{PasswordVerifier, ShaCrypt};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A password as the configuration has it.
#[derive(Clone, PartialEq, Eq)]
pub enum Password {
    /// `insecure-password`: the password itself.
    Plain(Arc<str>),
    /// `password`: a hash of crypt(3), SHA-256 (`$5$`) or SHA-512 (`$6$`).
    Sha(Arc<str>),
}

impl std::fmt::Debug for Password {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Password::Plain(_) => "Plain(…)",
            Password::Sha(_) => "Sha(…)",
        })
    }
}

impl Password {
    /// Whether these bytes are the password. Takes as long for a wrong one as for the right one.
    pub fn is(&self, given: &[u8]) -> bool {
        match self {
            Password::Plain(password) => {
                let differing = password.bytes().zip(given).fold(0, |d, (a, b)| d | (a ^ b));
                password.len() == given.len() && differing == 0
            }
            Password::Sha(hash) => ShaCrypt::default().verify_password(given, &**hash).is_ok(),
        }
    }
}

/// One `user` line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct User {
    /// Without one the user cannot log in.
    pub password: Option<Password>,
    /// The groups of this user, be they named on this line or on `group` lines.
    pub groups: Vec<Arc<str>>,
}

/// One `userlist` section.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UserList {
    /// Users by name.
    pub users: BTreeMap<Arc<str>, User>,
}

impl UserList {
    /// The groups of the user whom these credentials prove; `None` when they prove nobody.
    pub fn groups(&self, user: &[u8], password: &[u8]) -> Option<&[Arc<str>]> {
        let user = self.users.get(std::str::from_utf8(user).ok()?)?;
        let proven = user.password.as_ref().is_some_and(|p| p.is(password));
        proven.then_some(&*user.groups)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_compared_or_hashed() {
        let sha256 = "$5$abcd$WSVDShT9pJiIlieTYFbVLGiQQjOCcr.NaW4/RVu1n4C";
        let sha512 = "$6$saltstring$1kpSnlxr1/gUHHqvz76cq4lBB1aEhLGo7/gEhSbCXbt5IJcTWui6wY6/Pf69d0896UE1F6B93YJsOD7JaPKuB0";
        for (password, right) in [
            (Password::Plain("pw".into()), "pw"),
            (Password::Sha(sha256.into()), "pw2"),
            (Password::Sha(sha512.into()), "pw6"),
        ] {
            assert!(password.is(right.as_bytes()), "{password:?}");
            for wrong in ["", "p", "pwx", "PW"] {
                assert!(!password.is(wrong.as_bytes()), "{password:?} {wrong}");
            }
        }
        assert!(!Password::Sha("$5$".into()).is(b""));
        assert!(!Password::Sha("$6$rounds=x$a$b".into()).is(b""));
    }

    #[test]
    fn only_proven_users_have_groups() {
        let user = User {
            password: Some(Password::Plain("x".into())),
            groups: vec!["g".into()],
        };
        let users = BTreeMap::from([("a".into(), user), ("b".into(), User::default())]);
        let list = UserList { users };
        assert_eq!(list.groups(b"a", b"x").map(<[_]>::len), Some(1));
        assert_eq!(list.groups(b"a", b"y"), None);
        assert_eq!(list.groups(b"b", b""), None);
        assert_eq!(list.groups(b"c", b"x"), None);
    }
}
