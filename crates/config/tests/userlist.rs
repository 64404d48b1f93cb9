//! The `userlist` section.

mod common;

use common::{load_text, said};

const TIMES: &str = "timeout client 1s\n timeout server 1s\n timeout connect 1s\n";

/// Whole sections after anonymous defaults, which end at line 5.
fn sections(text: &str) -> Vec<String> {
    said(&load_text(&format!(
        "defaults\n {TIMES} mode http\n{text}\n"
    )))
}

#[track_caller]
fn says(said: &[String], wanted: &[&str]) {
    let matches = said.len() == wanted.len() && said.iter().zip(wanted).all(|(s, w)| s.contains(w));
    assert!(matches, "said {said:#?}\nwanted {wanted:#?}");
}

#[test]
fn userlists_have_users_groups_and_passwords() {
    let loaded = load_text(&format!(
        "defaults\n {TIMES} mode http\nlisten l\n bind :80\n acl in http_auth(u)\n http-request auth unless in\n\
         userlist u\n group g users a\n group h\n user a insecure-password x groups h\n user b password $6$s$h\n"
    ));
    says(&said(&loaded), &[]);
    let config = loaded.config.expect("valid");
    let groups = config.userlists["u"]
        .groups(b"a", b"x")
        .expect("it is the password");
    assert_eq!(
        groups,
        [std::sync::Arc::from("h"), std::sync::Arc::from("g")]
    );
    says(
        &sections(
            "userlist u\n group g users a,x\n user a insecure-password x groups y\n user a\n group g\n user b passwort x\n foo\n user\nuserlist u\nbackend b",
        ),
        &[
            "7: error: there is no user 'x' in this list",
            "8: error: there is no group 'y' in this list",
            "9: warning: user 'a' stands above already",
            "10: warning: group 'g' stands above already",
            "11: error: unknown user word 'passwort': did you mean 'password'?",
            "12: error: unknown keyword 'foo' in 'userlist'",
            "13: error: 'user' wants a name",
            "14: warning: there is a 'userlist u' already",
        ],
    );
    for (password, kind) in [
        ("$1$a$b", "'$1$' is a kind"),
        ("$y$j$a", "'$y$' is a kind"),
        ("abJnggxhB/yWI", "no hash that starts with a kind"),
    ] {
        says(
            &sections(&format!(
                "userlist u\n user a password {password}\nbackend b"
            )),
            &[kind],
        );
    }
    says(
        &sections(
            "listen l\n bind :80\n http-request deny unless { http_auth(staf) }\nuserlist staff",
        ),
        &["8: error: no userlist is called 'staf': did you mean 'staff'?"],
    );
}
