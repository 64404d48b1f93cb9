//! `userlist`, `http_auth` and `http-request auth`.

use lab::{Client, Proxy, each, port};

fn ask(port: u16, credentials: &str) -> lab::Response {
    let authorization = match credentials {
        "" => String::new(),
        given => format!("Authorization: Basic {given}\r\n"),
    };
    Client::connect(port).ask(&format!(
        "GET / HTTP/1.1\r\nHost: test.example\r\n{authorization}Connection: close\r\n\r\n"
    ))
}

#[test]
fn only_users_of_the_list_come_in_and_groups_tell_them_apart() {
    each(|program| {
        let web = port();
        let config = format!(
            "userlist staff\n    group admins users alice\n    group guests\n    user alice insecure-password wonder:land\n    \
             user bob password $5$abcd$WSVDShT9pJiIlieTYFbVLGiQQjOCcr.NaW4/RVu1n4C groups guests\n    \
             user carol password $6$saltstring$1kpSnlxr1/gUHHqvz76cq4lBB1aEhLGo7/gEhSbCXbt5IJcTWui6wY6/Pf69d0896UE1F6B93YJsOD7JaPKuB0\n\
             defaults\n    mode http\n    timeout client 2s\n    timeout server 2s\n    timeout connect 1s\n\
             listen web\n    bind 127.0.0.1:{web}\n    http-request auth realm \"The House\" unless {{ http_auth(staff) }}\n    \
             http-request return status 202 if {{ http_auth_group(staff) admins }}\n    \
             http-request return status 203 if {{ http_auth_group(staff) guests }}\n    http-request return status 204\n"
        );
        let _proxy = Proxy::start(program, &config);
        // alice:wonder:land, bob:pw2, carol:pw6
        for (credentials, status) in [
            ("YWxpY2U6d29uZGVyOmxhbmQ=", 202),
            ("Ym9iOnB3Mg==", 203),
            ("Y2Fyb2w6cHc2", 204),
            // alice:wrong, bob:, nobody:x, and what is no base64
            ("YWxpY2U6d3Jvbmc=", 401),
            ("Ym9iOg==", 401),
            ("bm9ib2R5Ong=", 401),
            ("???", 401),
            ("", 401),
        ] {
            let answer = ask(web, credentials);
            assert_eq!(answer.status, status, "{} '{credentials}'", program.name);
            if status == 401 {
                assert_eq!(
                    answer.header("www-authenticate").as_deref(),
                    Some("Basic realm=\"The House\""),
                    "{}",
                    program.name
                );
            }
        }
    });
}

#[test]
fn a_realm_that_is_not_named_is_the_proxys() {
    each(|program| {
        let web = port();
        let config = format!(
            "defaults\n    mode http\n    timeout client 2s\n    timeout server 2s\n    timeout connect 1s\n\
             listen web\n    bind 127.0.0.1:{web}\n    http-request auth\n"
        );
        let _proxy = Proxy::start(program, &config);
        let answer = ask(web, "");
        assert_eq!(answer.status, 401, "{}", program.name);
        assert_eq!(
            answer.header("www-authenticate").as_deref(),
            Some("Basic realm=\"web\""),
            "{}",
            program.name
        );
    });
}
