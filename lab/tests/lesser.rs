//! Lesser words of the language, each with its effect.

use lab::{Folder, LogSink, Program, Proxy, each, port};

const TIMES: &str =
    "    mode http\n    timeout client 5s\n    timeout server 5s\n    timeout connect 2s\n";

#[test]
fn a_file_without_anything_to_listen_on_has_an_exit_status_of_its_own() {
    each(|program| {
        let folder = Folder::new();
        for text in [
            "global\n    daemon\n",
            "backend b\n    server s 127.0.0.1:1\n",
            "frontend f\n    mode http\n",
            "frontend f\n    bind 127.0.0.1:1\n    disabled\n",
            "\n",
        ] {
            let file = folder.file("none.cfg", text.as_bytes());
            let (status, said) = program.run(&["-c", "-f", &file]);
            assert_eq!(status, 2, "{} {text}", program.name);
            assert!(
                said.contains("will not start (no listener) => exit(2)"),
                "{said}"
            );
            let (status, _) = program.run(&["-db", "-f", &file]);
            assert_eq!(status, 1, "{} {text}", program.name);
        }
        let socket = folder.path("socket");
        let text = format!("global\n    stats socket {socket}\n");
        let file = folder.file("socket.cfg", text.as_bytes());
        assert_eq!(program.run(&["-c", "-f", &file]).0, 0, "{}", program.name);
    });
}

#[test]
fn a_reload_without_anything_to_listen_on_changes_nothing() {
    let folder = Folder::new();
    let (web, socket) = (port(), folder.path("socket"));
    let text = format!(
        "defaults\n{TIMES}listen web\n    bind 127.0.0.1:{web}\n    http-request return status 204\n"
    );
    let proxy = Proxy::start(&Program::mulgil(), &text);
    let whole = std::fs::read_to_string(&proxy.file).expect("its file");
    std::fs::write(&proxy.file, format!("backend b\n    # not {socket}\n")).expect("it is written");
    proxy.signal("-HUP");
    proxy.wait_for_output("nothing is listened on");
    assert_eq!(lab::get(web, "/").status, 204);
    std::fs::write(&proxy.file, whole).expect("it is written");
}

#[test]
fn files_are_told_of_the_process_by_variables() {
    each(|program| {
        let web = port();
        let text = format!(
            "defaults\n{TIMES}listen web\n    bind 127.0.0.1:{web}\n    \
             http-request return status 200 content-type text/plain lf-string \"$HAPROXY_LOCALPEER|%[env(HAPROXY_CFGFILES)]|%[env(HAPROXY_MWORKER)]\"\n"
        );
        let proxy = Proxy::start(program, &text);
        let name = std::fs::read_to_string("/proc/sys/kernel/hostname").expect("a name");
        let wanted = format!("{}|{}|", name.trim(), proxy.file);
        assert_eq!(lab::get(web, "/").body, wanted, "{}", program.name);
    });
}

/// The oracle has these variables from 2.8 on.
#[test]
fn the_usual_formats_of_log_lines_stand_in_variables() {
    let (web, sink) = (port(), LogSink::new());
    let text = format!(
        "defaults\n{TIMES}listen web\n    bind 127.0.0.1:{web}\n    log 127.0.0.1:{} local0\n    \
         log-format \"${{HAPROXY_HTTP_LOG_FMT}} and %[path]\"\n    http-request return status 204\n",
        sink.port
    );
    let _proxy = Proxy::start(&Program::mulgil(), &text);
    assert_eq!(lab::get(web, "/x").status, 204);
    let line = sink.line("web/<NOSRV>");
    assert!(line.ends_with("\"GET /x HTTP/1.1\" and /x"), "{line}");
}
