//! Error pages: made in the configuration, taken from sections, or none at all.

use lab::{Client, Folder, Program, Proxy, each, get, port};

fn serving(program: &Program, front: &str) -> (Proxy, u16) {
    let web = port();
    let config = format!(
        "defaults\n    mode http\n    timeout client 500ms\n    timeout server 2s\n    timeout connect 1s\n\
         listen web\n    bind 127.0.0.1:{web}\n{front}"
    );
    (Proxy::start(program, &config), web)
}

#[test]
fn pages_are_made_by_http_error_lines() {
    each(|program| {
        let (_proxy, web) = serving(
            program,
            "    http-error status 403 content-type text/plain string \"not you\" hdr X-House yes\n    \
             http-error status 429\n    http-request deny if { path /a }\n    http-request deny deny_status 429\n",
        );
        let answer = get(web, "/a");
        assert_eq!(
            (answer.status, &*answer.body),
            (403, "not you"),
            "{}",
            program.name
        );
        assert_eq!(answer.header("x-house").as_deref(), Some("yes"));
        assert_eq!(answer.header("content-type").as_deref(), Some("text/plain"));
        let answer = get(web, "/b");
        assert_eq!(
            (answer.status, &*answer.body),
            (429, ""),
            "{}",
            program.name
        );
    });
}

#[test]
fn sections_of_pages_may_stand_below_and_later_lines_win() {
    let folder = Folder::new();
    let page = |status: &str, text: &str| {
        let message = format!("HTTP/1.0 {status} Of ours\nX-House: {text}\n\n{text}");
        folder.file(&format!("{status}.http"), message.as_bytes())
    };
    let (one, other) = (page("403", "one"), page("429", "other"));
    each(|program| {
        let (_proxy, web) = serving(
            program,
            &format!(
                "    errorfiles house\n    http-error status 429 content-type text/plain string mine\n    \
                 http-request deny if {{ path /a }}\n    http-request deny deny_status 429\n\
                 http-errors house\n    errorfile 403 {one}\n    errorfile 429 {other}\n"
            ),
        );
        let answer = get(web, "/a");
        assert_eq!(
            (answer.status, &*answer.body),
            (403, "one"),
            "{}",
            program.name
        );
        assert_eq!(answer.header("x-house").as_deref(), Some("one"));
        assert_eq!(get(web, "/b").body, "mine", "{}", program.name);
    });
}

#[test]
fn an_empty_page_closes_without_a_word() {
    each(|program| {
        let (_proxy, web) = serving(
            program,
            "    timeout http-request 200ms\n    errorfile 403 /dev/null\n    errorfile 408 /dev/null\n    http-request deny\n",
        );
        let mut denied = Client::connect(web);
        denied.send("GET / HTTP/1.1\r\nHost: test.example\r\n\r\n");
        assert!(denied.closed(), "{}", program.name);
        let mut late = Client::connect(web);
        late.send("GET / HT");
        assert!(late.closed(), "{}", program.name);
    });
}

#[test]
fn a_page_of_ours_still_asks_for_the_password() {
    let folder = Folder::new();
    let page = folder.file("401.http", b"HTTP/1.0 401 Who\r\n\r\nwho are you?");
    each(|program| {
        let (_proxy, web) = serving(
            program,
            &format!("    errorfile 401 {page}\n    http-request auth realm House\n"),
        );
        let answer = get(web, "/");
        assert_eq!(
            (answer.status, &*answer.body),
            (401, "who are you?"),
            "{}",
            program.name
        );
        assert_eq!(
            answer.header("www-authenticate").as_deref(),
            Some("Basic realm=\"House\""),
            "{}",
            program.name
        );
    });
}
