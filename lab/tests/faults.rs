//! Connections that never become sessions: what the log says of them, the same through mulgil and
//! through the oracle.

use lab::{Client, LogSink, Proxy, each, port};

const TIMES: &str = "defaults\n    mode http\n    timeout client 300ms\n    timeout server 1s\n    timeout connect 1s\n    option httplog\n";

#[test]
fn the_log_of_errors_says_why_a_connection_failed() {
    each(|program| {
        let (port, log) = (port(), LogSink::new());
        let config = format!(
            "{TIMES}frontend f\n    bind 127.0.0.1:{port} accept-proxy\n    log 127.0.0.1:{} local0\n    error-log-format \"failed %ci %ft %b/%s %TR/%Tw/%Tc/%Tr %ST %B %tsc %[fc_err] %[fc_err_str] %{{+Q}}r.\"\n    log-format \"served %[fc_err] %[fc_err_str]\"\n    http-request return status 200\n",
            log.port
        );
        let _proxy = Proxy::start(program, &config);
        let cases: [(&[u8], bool, &str); 6] = [
            (
                b"junk junk junk\r\n\r\n",
                false,
                "15 Received something which does not look like a PROXY protocol header",
            ),
            (
                b"PROXY TCP4 2001:db8::1 2001:db8::2 1 2\r\n",
                false,
                "16 Received an invalid PROXY protocol header",
            ),
            (
                b"PROXY TCP5 192.0.2.1 192.0.2.2 1 2\r\n",
                false,
                "17 Received an unhandled protocol in the PROXY protocol header",
            ),
            (
                b"PROXY TC",
                true,
                "14 Truncated PROXY protocol header received",
            ),
            (
                b"",
                true,
                "11 Connection closed while waiting for PROXY protocol header",
            ),
            (
                b"",
                false,
                "13 Timeout while waiting for PROXY protocol header",
            ),
        ];
        for (bytes, ends, fault) in cases {
            let mut client = Client::connect(port);
            client.send(bytes);
            if ends {
                let _ = client.stream.shutdown(std::net::Shutdown::Write);
            }
            let line = log.line("failed");
            let wanted =
                format!("failed 127.0.0.1 f f/<NOSRV> -1/-1/-1/-1 0 0 PR-- {fault} \"<BADREQ>\".");
            assert!(
                line.ends_with(&wanted),
                "{}: {line}\n{wanted}",
                program.name
            );
        }
        let mut client = Client::connect(port);
        let answer =
            client.ask("PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n");
        assert_eq!(answer.status, 200, "{}", program.name);
        assert!(
            log.line("served").ends_with("served 0 Success"),
            "{}",
            program.name
        );
    });
}

#[test]
fn rules_see_what_the_kernel_measures() {
    each(|program| {
        let (port, log) = (port(), LogSink::new());
        let config = format!(
            "{TIMES}frontend f\n    bind 127.0.0.1:{port}\n    log 127.0.0.1:{} local0\n    log-format \"kernel %[fc_rtt] %[fc_rttvar(us),bool] %[fc_lost] %[fc_retrans] %[fc_reordering] %[fc_sacked] %[fc_fackets]\"\n    http-request return status 200\n",
            log.port
        );
        let _proxy = Proxy::start(program, &config);
        assert_eq!(lab::get(port, "/").status, 200, "{}", program.name);
        let line = log.line("kernel");
        let measured = line.split_once("kernel ").map_or("", |(_, m)| m);
        let mut words: Vec<&str> = measured.trim_end().split(' ').collect();
        // How far packets may overtake each other is 3, or what the system has seen of this address.
        let reordering = (words.len() > 4).then(|| words.remove(4));
        let reordering = reordering.and_then(|n| n.parse::<u32>().ok());
        assert!(
            reordering.is_some_and(|n| n >= 3) && words == ["0", "1", "0", "0", "0", "0"],
            "{}: {line}",
            program.name
        );
    });
}
