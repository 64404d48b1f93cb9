//! The `userlist` section (manual section 3.4).

use super::Here;
use crate::diag::Fault;
use crate::draft::Place;
use model::{Password, User, UserList};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A `userlist` as far as it has been read.
#[derive(Default)]
pub(super) struct UsersDraft {
    users: BTreeMap<Arc<str>, User>,
    /// Groups with the users that their lines name.
    groups: BTreeMap<Arc<str>, Vec<Arc<str>>>,
    /// Users with the groups that their lines name.
    memberships: Vec<(Arc<str>, Vec<Arc<str>>, Place)>,
    /// The lines of groups.
    places: BTreeMap<Arc<str>, Place>,
}

fn names(list: &str) -> Vec<Arc<str>> {
    let names = list.split(',').filter(|n| !n.is_empty());
    names.map(Into::into).collect()
}

impl UsersDraft {
    /// A line of the section.
    pub(super) fn line(&mut self, here: Here<'_>) -> Result<(), Fault> {
        match here.word(0) {
            "user" => self.user(here),
            "group" => self.group(here),
            name => Err(Fault::at(
                0,
                match rules::nearest(name, ["user", "group"]) {
                    Some(near) => {
                        format!("unknown keyword '{name}' in 'userlist': did you mean '{near}'?")
                    }
                    None => format!("unknown keyword '{name}' in 'userlist': use user or group"),
                },
            )),
        }
    }

    fn user(&mut self, here: Here<'_>) -> Result<(), Fault> {
        let name: Arc<str> = here.word(1).into();
        if name.is_empty() {
            return Err(Fault::at(0, "'user' wants a name"));
        }
        let mut user = User::default();
        let mut groups = Vec::new();
        let mut at = 2;
        while !here.word(at).is_empty() {
            let (word, value) = (here.word(at), here.word(at + 1));
            if value.is_empty() && matches!(word, "password" | "insecure-password" | "groups") {
                return Err(Fault::at(at, format!("'{word}' wants a value after it")));
            }
            match word {
                "password" => {
                    user.password = Some(hashed(value).map_err(|m| Fault::at(at + 1, m))?)
                }
                "insecure-password" => user.password = Some(Password::Plain(value.into())),
                "groups" => groups = names(value),
                other => {
                    let known = ["password", "insecure-password", "groups"];
                    return Err(Fault::at(
                        at,
                        crate::keyword::near("user word", other, &known),
                    ));
                }
            }
            at += 2;
        }
        if self.users.contains_key(&name) {
            let message = format!("user '{name}' stands above already: this line is not read");
            return Err(Fault::warning(1, message));
        }
        self.users.insert(Arc::clone(&name), user);
        self.memberships.push((name, groups, here.place(1)));
        Ok(())
    }

    fn group(&mut self, here: Here<'_>) -> Result<(), Fault> {
        let name: Arc<str> = here.word(1).into();
        if name.is_empty() {
            return Err(Fault::at(0, "'group' wants a name"));
        }
        let users = match (here.word(2), here.word(3)) {
            ("", _) => Vec::new(),
            ("users", "") => return Err(Fault::at(2, "'users' wants names after it")),
            ("users", list) => names(list),
            (other, _) => {
                return Err(Fault::at(
                    2,
                    crate::keyword::near("group word", other, &["users"]),
                ));
            }
        };
        if !here.word(4).is_empty() {
            let message = format!(
                "'{}' is one word too many: join names by commas",
                here.word(4)
            );
            return Err(Fault::at(4, message));
        }
        if self.groups.contains_key(&name) {
            let message = format!("group '{name}' stands above already: this line is not read");
            return Err(Fault::warning(1, message));
        }
        self.groups.insert(Arc::clone(&name), users);
        self.places.insert(name, here.place(1));
        Ok(())
    }

    /// Joins users and groups; also what is wrong with their names.
    pub(super) fn finish(mut self) -> (UserList, Vec<(Place, String)>) {
        let mut wrong = Vec::new();
        for (name, groups, place) in self.memberships {
            for group in groups {
                if !self.groups.contains_key(&group) {
                    let message =
                        format!("there is no group '{group}' in this list: add 'group {group}'");
                    wrong.push((place.clone(), message));
                } else if let Some(user) = self.users.get_mut(&name) {
                    user.groups.push(group);
                }
            }
        }
        for (group, users) in &self.groups {
            for name in users {
                match self.users.get_mut(name) {
                    Some(user) if user.groups.contains(group) => {}
                    Some(user) => user.groups.push(Arc::clone(group)),
                    None => {
                        let message =
                            format!("there is no user '{name}' in this list: add 'user {name}'");
                        wrong.extend(self.places.get(group).map(|p| (p.clone(), message)));
                    }
                }
            }
        }
        let users = self.users;
        (UserList { users }, wrong)
    }
}

/// A hash of crypt(3) that can be checked here.
fn hashed(text: &str) -> Result<Password, String> {
    if text.starts_with("$5$") || text.starts_with("$6$") {
        return Ok(Password::Sha(text.into()));
    }
    let kind = match text.strip_prefix('$').and_then(|t| t.split('$').next()) {
        Some(kind) => format!("'${kind}$' is a kind of hash"),
        None => "this is no hash that starts with a kind, so it is crypt(3)'s oldest".to_string(),
    };
    Err(format!(
        "{kind} that mulgil does not have yet: make one of SHA-512 ($6$), for example by 'openssl passwd -6'"
    ))
}
