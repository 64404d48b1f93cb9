//! Rules of checks, a peer for each, and what they find.

use super::{Case, Peer::*, case};

/// The oracle's findings; names of header fields in lower case, as it writes them.
pub const CASES: &[Case] = &[
    case("optref", &["option tcp-check"], Refusing(""), ["DOWN", "L4CON", "", "Connection refused at initial connection step of tcp-check"]),
    case("optok", &["option tcp-check"], AtOnce(""), ["UP", "L4OK", "", ""]),
    case("lfempty", &["option tcp-check", "tcp-check expect comment mine ! string-lf %[str()]"], AtOnce("y"), ["DOWN", "L7RSP", "", "log-format string evaluated to an empty string comment: mine"]),
    case("lfbytes", &["option tcp-check", "tcp-check expect error-status L7STS binary-lf %[str(7az)]"], AtOnce("y"), ["DOWN", "L7RSP", "", "Failed to parse hexastring resulting of eval of a log-format string"]),
    case("lfhttp", &["option httpchk", "http-check expect string-lf %[str()]"], Asked("HTTP/1.0 200 OK\r\n\r\nhello"), ["DOWN", "L7RSP", "", "log-format string evaluated to an empty string"]),
    case("lfhdr", &["option httpchk", "http-check expect hdr name x value-lf %[str()]"], Asked("HTTP/1.0 200 OK\r\n\r\nhello"), ["DOWN", "L7RSP", "", "log-format string evaluated to an empty string"]),
    case("lfsend", &["option tcp-check", "tcp-check send-binary-lf %[str(7az)]"], AtOnce("y"), ["DOWN", "L7RSP", "", "tcp-check send : failed to build log-format string at step 1"]),
    case("seen", &[
            "option tcp-check",
            "tcp-check expect string 42",
            "tcp-check set-var(check.x) res.payload(0,3)",
            "tcp-check expect error-status L7STS status-code res.payload(1,2) on-error \"%[var(check.x)] of %[res.len]\" string z",
        ], AtOnce("423x"), ["DOWN", "L7STS", "23", "423 of 4"]),
    case("seenhttp", &[
            "option httpchk",
            "http-check expect status-code res.body_len on-error \"%[res.body] %[status]\" status 204",
        ], Asked("HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello"), ["DOWN", "L7STS", "5", "hello 200"]),
    case("long", &["option httpchk"], Asked(
            "HTTP/1.0 503 xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\r\n\r\n",
        ), ["DOWN", "L7STS", "503", "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"]),
    case("reset", &["option tcp-check", "tcp-check connect", "tcp-check send x", "tcp-check expect string y"], Resetting, ["DOWN", "SOCKERR", "", "Connection reset by peer at step 3 of tcp-check (expect string 'y')"]),
    case("httpreset", &["option httpchk"], Resetting, ["DOWN", "SOCKERR", "", "Connection reset by peer"]),
    case("resetneg", &["option tcp-check", "tcp-check send x", "tcp-check expect ! string ERR"], Broken("220 hello"), ["UP", "L7OK", "0", "(tcp-check)"]),
    case("resetmin", &["option tcp-check", "tcp-check send x", "tcp-check expect min-recv 100 string hello"], Broken("220 hello"), ["UP", "L7OK", "0", "(tcp-check)"]),
    case("resetmiss", &["option tcp-check", "tcp-check send x", "tcp-check expect string ERR"], Broken("220 hello"), ["DOWN", "L7RSP", "", "TCPCHK did not match content 'ERR' at step 2"]),
    case("resetredis", &["option redis-check"], Broken("+PO"), ["DOWN", "L7STS", "0", "+PO"]),
    case("httpref", &["option httpchk"], Refusing(""), ["DOWN", "L4CON", "", "Connection refused"]),
    case("httprefsend", &["option httpchk", "http-check send uri /x"], Refusing(""), ["DOWN", "L4CON", "", "Connection refused"]),
    case("tcpref", &["option tcp-check", "tcp-check expect string x"], Refusing(""), ["DOWN", "L4CON", "", "Connection refused at initial connection step of tcp-check"]),
    case("tcprefsend", &[
            "option tcp-check",
            "tcp-check send x",
            "tcp-check expect string x",
        ], Refusing(""), ["DOWN", "L4CON", "", "Connection refused at initial connection step of tcp-check"]),
    case("tcprefcom", &[
            "option tcp-check",
            "tcp-check comment c1",
            "tcp-check connect",
            "tcp-check expect string x",
        ], Refusing(""), ["DOWN", "L4CON", "", "Connection refused at step 2 of tcp-check (connect) comment: 'c1'"]),
    case("tcptout", &[
            "option tcp-check",
            "tcp-check send x",
            "tcp-check expect string zonk",
        ], Holding("+OK hi\r\n"), ["DOWN", "L7TOUT", "", " at step 2 of tcp-check (expect string 'zonk')"]),
    case("tcptoutc", &[
            "option tcp-check",
            "tcp-check connect",
            "tcp-check comment zz",
            "tcp-check send x",
            "tcp-check comment slow",
            "tcp-check expect string zonk",
        ], Holding("+OK hi\r\n"), ["DOWN", "L7TOUT", "", " at step 5 of tcp-check (expect string 'zonk') comment: 'slow'"]),
    case("tcptoutr", &[
            "option tcp-check",
            "tcp-check connect",
            "tcp-check expect rstring zonk",
        ], Holding("+OK hi\r\n"), ["DOWN", "L7TOUT", "", " at step 2 of tcp-check (expect regex)"]),
    case("tcptoutb", &[
            "option tcp-check",
            "tcp-check connect",
            "tcp-check expect comment bin binary 5050",
        ], Holding("+OK hi\r\n"), ["DOWN", "L7TOUT", "", " at step 2 of tcp-check (expect binary 'PP') comment: 'bin'"]),
    case("httptout", &["option httpchk"], Holding("HTTP/1.0 20"), ["DOWN", "L7TOUT", "", ""]),
    case("httptout2", &[
            "option httpchk",
            "http-check connect",
            "http-check send uri /",
            "http-check expect status 200",
        ], Holding("HTTP/1.0 20"), ["DOWN", "L7TOUT", "", ""]),
    case("httptout3", &[
            "option httpchk",
            "http-check connect",
            "http-check send uri /",
            "http-check expect comment slow string zonk",
        ], Holding("HTTP/1.0 200 OK\r\nContent-Length: 100\r\n\r\nfoo"), ["DOWN", "L7TOUT", "", ""]),
    case("httppartial", &["option httpchk", "http-check expect string zonk"], Asked("HTTP/1.0 200 OK\r\nContent-Length: 100\r\n\r\nfoo"), ["DOWN", "L7RSP", "", "HTTP content check did not match"]).asked("options / http/1.0\r\n\r\n"),
    case("httppartialok", &["option httpchk", "http-check expect string foo"], Asked("HTTP/1.0 200 OK\r\nContent-Length: 100\r\n\r\nfoo"), ["UP", "L7OK", "200", ""]).asked("options / http/1.0\r\n\r\n"),
    case("httppartialstat", &["option httpchk", "http-check expect status 200"], Holding("HTTP/1.0 200 OK\r\nContent-Length: 100\r\n\r\nfoo"), ["UP", "L7OK", "200", ""]),
    case("httpchunk", &["option httpchk", "http-check expect string hello"], Asked(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n",
        ), ["UP", "L7OK", "200", ""]).asked("options / http/1.0\r\n\r\n"),
    case("http2exp", &[
            "option httpchk",
            "http-check send uri /",
            "http-check expect status 200",
            "http-check expect string zonk",
        ], Asked(
            "HTTP/1.0 200 OK\r\nContent-Length: 12\r\nX-A: one, two\r\nSet-Cookie: sessid=1\r\n\r\nhello world\n",
        ), ["DOWN", "L7RSP", "", "HTTP content check did not match"]).asked("options / http/1.0\r\n\r\n"),
    case("http2expok", &[
            "option httpchk",
            "http-check send uri /",
            "http-check expect status 200",
            "http-check expect string hello",
        ], Asked(
            "HTTP/1.0 200 OK\r\nContent-Length: 12\r\nX-A: one, two\r\nSet-Cookie: sessid=1\r\n\r\nhello world\n",
        ), ["UP", "L7OK", "200", ""]).asked("options / http/1.0\r\n\r\n"),
    case("httpimpl", &[
            "option httpchk",
            "http-check connect",
            "http-check send uri /",
            "http-check expect status 500",
            "http-check connect",
            "http-check send uri /2",
        ], Asked("HTTP/1.0 500 Xy\r\nContent-Length: 1\r\n\r\nx"), ["DOWN", "L7STS", "500", "Xy"]).asked("options / http/1.0\r\n\r\n"),
    case("httpcode", &["option httpchk", "http-check expect status 599"], Asked("HTTP/1.0 599\r\n\r\n"), ["UP", "L7OK", "599", ""]).asked("options / http/1.0\r\n\r\n"),
    case("tcpnegtout", &["option tcp-check", "tcp-check expect ! string zonk"], Holding("+OK hi\r\n"), ["DOWN", "L7TOUT", "", " at step 1 of tcp-check (expect string 'zonk')"]),
    case("onerr2", &[
            "option tcp-check",
            "tcp-check expect on-error \"%[str(),length]\" string zonk",
        ], AtOnce("y"), ["DOWN", "L7RSP", "", "0"]),
    case("oksts", &[
            "option tcp-check",
            "tcp-check expect ok-status L6OK string y",
        ], AtOnce("y"), ["UP", "L6OK", "", "(tcp-check)"]),
    case("okl4", &[
            "option tcp-check",
            "tcp-check expect ok-status L4OK string y",
        ], AtOnce("y"), ["UP", "L4OK", "", "(tcp-check)"]),
    case("errsts", &[
            "option tcp-check",
            "tcp-check expect error-status L7OKC string z",
        ], AtOnce("y"), ["NOLB", "L7OKC", "0", "TCPCHK did not match content 'z' at step 1"]),
    case("errst2", &[
            "option tcp-check",
            "tcp-check expect error-status L7STS string z",
        ], AtOnce("y"), ["DOWN", "L7STS", "0", "TCPCHK did not match content 'z' at step 1"]),
    case("stc", &[
            "option tcp-check",
            "tcp-check expect status-code int(5) string y",
        ], AtOnce("y"), ["UP", "L7OK", "5", "(tcp-check)"]),
    case("stcneg", &[
            "option tcp-check",
            "tcp-check expect status-code int(-5) string z",
        ], AtOnce("y"), ["DOWN", "L7RSP", "", "TCPCHK did not match content 'z' at step 1"]),
    case("minrecv", &["option tcp-check", "tcp-check expect min-recv 10 string y"], AtOnce("y"), ["UP", "L7OK", "0", "(tcp-check)"]),
    case("plain", &[], AtOnce(""), ["UP", "L4OK", "", ""]),
    case("http200", &["option httpchk"], Asked(
            "HTTP/1.0 200 OK\r\nContent-Length: 12\r\nX-A: one, two\r\nSet-Cookie: sessid=1\r\n\r\nhello world\n",
        ), ["UP", "L7OK", "200", ""]).asked("options / http/1.0\r\n\r\n"),
    case("http500", &["option httpchk"], Asked("HTTP/1.0 500 Xy\r\nContent-Length: 1\r\n\r\nx"), ["DOWN", "L7STS", "500", "Xy"]).asked("options / http/1.0\r\n\r\n"),
    case("http404", &["option httpchk"], Asked("HTTP/1.0 404 Xy\r\nContent-Length: 1\r\n\r\nx"), ["DOWN", "L7STS", "404", "Xy"]).asked("options / http/1.0\r\n\r\n"),
    case("http404d", &["option httpchk", "http-check disable-on-404"], Asked("HTTP/1.0 404 Xy\r\nContent-Length: 1\r\n\r\nx"), ["NOLB", "L7OKC", "404", ""]).asked("options / http/1.0\r\n\r\n"),
    case("httpexp", &["option httpchk", "http-check expect status 200"], Asked("HTTP/1.0 201 Xy\r\nContent-Length: 1\r\n\r\nx"), ["DOWN", "L7STS", "201", "Xy"]).asked("options / http/1.0\r\n\r\n"),
    case("httpexpneg", &["option httpchk", "http-check expect ! status 200-299"], Asked("HTTP/1.0 201 Xy\r\nContent-Length: 1\r\n\r\nx"), ["DOWN", "L7STS", "201", "Xy"]).asked("options / http/1.0\r\n\r\n"),
    case("rstatus", &["option httpchk", "http-check expect rstatus ^5"], Asked("HTTP/1.0 201 Xy\r\nContent-Length: 1\r\n\r\nx"), ["DOWN", "L7STS", "201", "Xy"]).asked("options / http/1.0\r\n\r\n"),
    case("string", &["option httpchk", "http-check expect string zonk"], Asked(
            "HTTP/1.0 200 OK\r\nContent-Length: 12\r\nX-A: one, two\r\nSet-Cookie: sessid=1\r\n\r\nhello world\n",
        ), ["DOWN", "L7RSP", "", "HTTP content check did not match"]).asked("options / http/1.0\r\n\r\n"),
    case("stringneg", &["option httpchk", "http-check expect ! string hello"], Asked(
            "HTTP/1.0 200 OK\r\nContent-Length: 12\r\nX-A: one, two\r\nSet-Cookie: sessid=1\r\n\r\nhello world\n",
        ), ["DOWN", "L7RSP", "", "HTTP check matched unwanted content"]).asked("options / http/1.0\r\n\r\n"),
    case("stringok", &["option httpchk", "http-check expect string hello"], Asked(
            "HTTP/1.0 200 OK\r\nContent-Length: 12\r\nX-A: one, two\r\nSet-Cookie: sessid=1\r\n\r\nhello world\n",
        ), ["UP", "L7OK", "200", ""]).asked("options / http/1.0\r\n\r\n"),
    case("rstring", &["option httpchk", "http-check expect rstring z.nk"], Asked(
            "HTTP/1.0 200 OK\r\nContent-Length: 12\r\nX-A: one, two\r\nSet-Cookie: sessid=1\r\n\r\nhello world\n",
        ), ["DOWN", "L7RSP", "", "HTTP content check did not match"]).asked("options / http/1.0\r\n\r\n"),
    case("comment", &[
            "option httpchk",
            "http-check comment mycomment",
            "http-check expect string zonk",
        ], Asked(
            "HTTP/1.0 200 OK\r\nContent-Length: 12\r\nX-A: one, two\r\nSet-Cookie: sessid=1\r\n\r\nhello world\n",
        ), ["DOWN", "L7RSP", "", "HTTP content check did not match comment: mycomment"]).asked("options / http/1.0\r\n\r\n"),
    case("comment2", &[
            "option httpchk",
            "http-check expect comment mine status 300",
        ], Asked(
            "HTTP/1.0 200 OK\r\nContent-Length: 12\r\nX-A: one, two\r\nSet-Cookie: sessid=1\r\n\r\nhello world\n",
        ), ["DOWN", "L7STS", "200", "OK comment: mine"]).asked("options / http/1.0\r\n\r\n"),
    case("onerr", &[
            "option httpchk",
            "http-check expect on-error \"bad %[res.hdr(x-a)] %[status]\" status 300",
        ], Asked(
            "HTTP/1.0 200 OK\r\nContent-Length: 12\r\nX-A: one, two\r\nSet-Cookie: sessid=1\r\n\r\nhello world\n",
        ), ["DOWN", "L7STS", "200", "bad two 200"]).asked("options / http/1.0\r\n\r\n"),
    case("onok", &[
            "option httpchk",
            "http-check expect on-success \"good %[res.hdr(x-a)] %[status]\" status 200",
        ], Asked(
            "HTTP/1.0 200 OK\r\nContent-Length: 12\r\nX-A: one, two\r\nSet-Cookie: sessid=1\r\n\r\nhello world\n",
        ), ["UP", "L7OK", "200", "good two 200"]).asked("options / http/1.0\r\n\r\n"),
    case("statcode", &[
            "option httpchk",
            "http-check expect status-code int(77) status 200",
        ], Asked(
            "HTTP/1.0 200 OK\r\nContent-Length: 12\r\nX-A: one, two\r\nSet-Cookie: sessid=1\r\n\r\nhello world\n",
        ), ["UP", "L7OK", "77", ""]).asked("options / http/1.0\r\n\r\n"),
    case("statcode2", &[
            "option httpchk",
            "http-check expect status-code int(77) status 300",
        ], Asked(
            "HTTP/1.0 200 OK\r\nContent-Length: 12\r\nX-A: one, two\r\nSet-Cookie: sessid=1\r\n\r\nhello world\n",
        ), ["DOWN", "L7STS", "77", "OK"]).asked("options / http/1.0\r\n\r\n"),
    case("okst", &[
            "option httpchk",
            "http-check expect ok-status L7OKC status 200",
        ], Asked(
            "HTTP/1.0 200 OK\r\nContent-Length: 12\r\nX-A: one, two\r\nSet-Cookie: sessid=1\r\n\r\nhello world\n",
        ), ["NOLB", "L7OKC", "200", ""]).asked("options / http/1.0\r\n\r\n"),
    case("errst", &[
            "option httpchk",
            "http-check expect error-status L4CON status 300",
        ], Asked(
            "HTTP/1.0 200 OK\r\nContent-Length: 12\r\nX-A: one, two\r\nSet-Cookie: sessid=1\r\n\r\nhello world\n",
        ), ["DOWN", "L4CON", "", "OK"]).asked("options / http/1.0\r\n\r\n"),
    case("hdr1", &["option httpchk", "http-check expect hdr name x-a value two"], Asked(
            "HTTP/1.0 200 OK\r\nContent-Length: 12\r\nX-A: one, two\r\nSet-Cookie: sessid=1\r\n\r\nhello world\n",
        ), ["UP", "L7OK", "200", ""]).asked("options / http/1.0\r\n\r\n"),
    case("fhdr1", &[
            "option httpchk",
            "http-check expect fhdr name x-a value two",
        ], Asked(
            "HTTP/1.0 200 OK\r\nContent-Length: 12\r\nX-A: one, two\r\nSet-Cookie: sessid=1\r\n\r\nhello world\n",
        ), ["DOWN", "L7STS", "200", "OK"]).asked("options / http/1.0\r\n\r\n"),
    case("fhdr2", &[
            "option httpchk",
            "http-check expect fhdr name -m beg x- value -m sub two",
        ], Asked(
            "HTTP/1.0 200 OK\r\nContent-Length: 12\r\nX-A: one, two\r\nSet-Cookie: sessid=1\r\n\r\nhello world\n",
        ), ["UP", "L7OK", "200", ""]).asked("options / http/1.0\r\n\r\n"),
    case("hdrmiss", &["option httpchk", "http-check expect hdr name x-zz"], Asked(
            "HTTP/1.0 200 OK\r\nContent-Length: 12\r\nX-A: one, two\r\nSet-Cookie: sessid=1\r\n\r\nhello world\n",
        ), ["DOWN", "L7STS", "200", "OK"]).asked("options / http/1.0\r\n\r\n"),
    case("hdrneg", &["option httpchk", "http-check expect ! hdr name x-a"], Asked(
            "HTTP/1.0 200 OK\r\nContent-Length: 12\r\nX-A: one, two\r\nSet-Cookie: sessid=1\r\n\r\nhello world\n",
        ), ["DOWN", "L7STS", "200", "OK"]).asked("options / http/1.0\r\n\r\n"),
    case("garbage", &["option httpchk"], Asked("nonsense\r\n\r\n"), ["DOWN", "L7RSP", "", ""]).asked("options / http/1.0\r\n\r\n"),
    case("httpclose", &["option httpchk"], Asked(""), ["DOWN", "L7RSP", "", ""]).asked("options / http/1.0\r\n\r\n"),
    case("httpsend", &[
            "option httpchk",
            "http-check send meth GET uri /foo?%[x] ver HTTP/1.1 hdr Host www hdr X-B \"%[srv_name] %[be_name]\" body hello",
        ], Asked(
            "HTTP/1.0 200 OK\r\nContent-Length: 12\r\nX-A: one, two\r\nSet-Cookie: sessid=1\r\n\r\nhello world\n",
        ), ["UP", "L7OK", "200", ""]).asked("get /foo?%[x] http/1.1\r\nhost: www\r\nx-b: srv httpsend\r\ncontent-length: 5\r\nconnection: close\r\n\r\nhello"),
    case("httpsendlf", &[
            "option httpchk",
            "http-check send meth POST uri-lf \"/a%[srv_name]\" body-lf \"n=%[srv_name]\"",
            "http-check expect status 200",
        ], Asked(
            "HTTP/1.0 200 OK\r\nContent-Length: 12\r\nX-A: one, two\r\nSet-Cookie: sessid=1\r\n\r\nhello world\n",
        ), ["UP", "L7OK", "200", ""]).asked("post /asrv http/1.0\r\ncontent-length: 5\r\n\r\nn=srv"),
    case("httpsendconn", &[
            "option httpchk",
            "http-check send meth GET hdr Connection keep-alive hdr Content-Length 77 hdr Transfer-Encoding chunked",
        ], Asked(
            "HTTP/1.0 200 OK\r\nContent-Length: 12\r\nX-A: one, two\r\nSet-Cookie: sessid=1\r\n\r\nhello world\n",
        ), ["UP", "L7OK", "200", ""]).asked("get / http/1.0\r\nconnection: keep-alive\r\n\r\n"),
    case("opturi", &["option httpchk /x"], Asked(
            "HTTP/1.0 200 OK\r\nContent-Length: 12\r\nX-A: one, two\r\nSet-Cookie: sessid=1\r\n\r\nhello world\n",
        ), ["UP", "L7OK", "200", ""]).asked("options /x http/1.0\r\n\r\n"),
    case("opthead", &["option httpchk HEAD / HTTP/1.1"], Asked("HTTP/1.1 200 OK\r\nContent-Length: 77\r\n\r\n"), ["UP", "L7OK", "200", ""]).asked("head / http/1.1\r\nconnection: close\r\n\r\n"),
    case("optsend", &[
            "option httpchk GET /x HTTP/1.1",
            "http-check send hdr X-B b",
        ], Asked(
            "HTTP/1.0 200 OK\r\nContent-Length: 12\r\nX-A: one, two\r\nSet-Cookie: sessid=1\r\n\r\nhello world\n",
        ), ["UP", "L7OK", "200", ""]).asked("get /x http/1.1\r\nx-b: b\r\nconnection: close\r\n\r\n"),
    case("sendstate", &["option httpchk", "http-check send-state"], Asked(
            "HTTP/1.0 200 OK\r\nContent-Length: 12\r\nX-A: one, two\r\nSet-Cookie: sessid=1\r\n\r\nhello world\n",
        ), ["UP", "L7OK", "200", ""]),
    case("httptwo", &[
            "option httpchk",
            "http-check connect",
            "http-check send uri /1",
            "http-check expect status 200",
            "http-check connect port PORT",
            "http-check send uri /2",
            "http-check expect string hello",
        ], Asked(
            "HTTP/1.0 200 OK\r\nContent-Length: 12\r\nX-A: one, two\r\nSet-Cookie: sessid=1\r\n\r\nhello world\n",
        ), ["UP", "L7OK", "200", ""]).asked("options /1 http/1.0\r\n\r\n"),
    case("httpvars", &[
            "option httpchk",
            "http-check set-var(check.x) int(5)",
            "http-check connect",
            "http-check send hdr X-V \"%[var(check.x)]\"",
            "http-check expect status 200",
            "http-check set-var-fmt(check.y) \"%[res.hdr(x-a)]\"",
            "http-check connect",
            "http-check send hdr X-V \"%[var(check.y)]\"",
        ], Asked(
            "HTTP/1.0 200 OK\r\nContent-Length: 12\r\nX-A: one, two\r\nSet-Cookie: sessid=1\r\n\r\nhello world\n",
        ), ["UP", "L7OK", "200", ""]).asked("options / http/1.0\r\nx-v: 5\r\n\r\n"),
    case("tcpstr", &["option tcp-check", "tcp-check expect string zonk"], AtOnce("+OK hi\r\n"), ["DOWN", "L7RSP", "", "TCPCHK did not match content 'zonk' at step 1"]),
    case("tcpstrok", &["option tcp-check", "tcp-check expect string +OK"], AtOnce("+OK hi\r\n"), ["UP", "L7OK", "0", "(tcp-check)"]),
    case("tcpneg", &["option tcp-check", "tcp-check expect ! string hi"], AtOnce("+OK hi\r\n"), ["DOWN", "L7RSP", "", "TCPCHK matched unwanted content 'hi' at step 1"]),
    case("tcpnegok", &["option tcp-check", "tcp-check expect ! string zonk"], AtOnce("+OK hi\r\n"), ["UP", "L7OK", "0", "(tcp-check)"]),
    case("tcprstr", &["option tcp-check", "tcp-check expect rstring z.nk"], AtOnce("+OK hi\r\n"), ["DOWN", "L7RSP", "", "TCPCHK did not match content (regex) at step 1"]),
    case("tcpbin", &["option tcp-check", "tcp-check expect binary 2b4f4c"], AtOnce("+OK hi\r\n"), ["DOWN", "L7RSP", "", "TCPCHK did not match content (binary) at step 1"]),
    case("tcprbin", &["option tcp-check", "tcp-check expect rbinary ^2B4F4B20"], AtOnce("+OK hi\r\n"), ["UP", "L7OK", "0", "(tcp-check)"]),
    case("tcprbin2", &["option tcp-check", "tcp-check expect rbinary ^2b4f4b20"], AtOnce("+OK hi\r\n"), ["DOWN", "L7RSP", "", "TCPCHK did not match content (binary regex) at step 1"]),
    case("tcpempty", &["option tcp-check", "tcp-check expect string x"], AtOnce(""), ["DOWN", "L7RSP", "", "TCPCHK got an empty response at step 1"]),
    case("tcpcomment", &[
            "option tcp-check",
            "tcp-check connect comment conn",
            "tcp-check comment second",
            "tcp-check send PING\\r\\n",
            "tcp-check expect comment exp string zonk",
        ], Asked("+OK hi\r\n"), ["DOWN", "L7RSP", "", "TCPCHK did not match content 'zonk' at step 4 comment: exp"]).asked("ping\r\n"),
    case("tcpcomment2", &[
            "option tcp-check",
            "tcp-check connect",
            "tcp-check comment forexpect",
            "tcp-check expect string zonk",
        ], AtOnce("+OK hi\r\n"), ["DOWN", "L7RSP", "", "TCPCHK did not match content 'zonk' at step 3 comment: forexpect"]),
    case("tcptoutst", &[
            "option tcp-check",
            "tcp-check send x",
            "tcp-check expect tout-status L4TOUT comment slow string zonk",
        ], Holding("+OK hi\r\n"), ["DOWN", "L4TOUT", "", " at step 2 of tcp-check (expect string 'zonk') comment: 'slow'"]),
    case("tcpminrecv", &[
            "option tcp-check",
            "tcp-check send x",
            "tcp-check expect min-recv 50 string zonk",
        ], Holding("+OK hi\r\n"), ["DOWN", "L7TOUT", "", " at step 2 of tcp-check (expect string 'zonk')"]),
    case("tcpminrecv0", &[
            "option tcp-check",
            "tcp-check send x",
            "tcp-check expect min-recv 0 string zonk",
        ], Holding("+OK hi\r\n"), ["DOWN", "L7RSP", "", "TCPCHK did not match content 'zonk' at step 2"]),
    case("tcpsendonly", &[
            "option tcp-check",
            "tcp-check connect",
            "tcp-check send QUIT",
        ], Asked(""), ["UP", "L7OK", "0", "(tcp-check)"]).asked("quit"),
    case("tcpconn", &[
            "option tcp-check",
            "tcp-check connect port 1 comment nobody",
        ], AtOnce(""), ["DOWN", "L4CON", "", "Connection refused at step 1 of tcp-check (connect port 1) comment: 'nobody'"]),
    case("tcpsendlf", &[
            "option tcp-check",
            "tcp-check set-var(check.p) int(9)",
            "tcp-check send-lf \"p=%[var(check.p)] %[srv_name]\\n\"",
            "tcp-check send-binary-lf 31%[str(zz),hex]",
            "tcp-check expect string OK",
        ], Asked("OK"), ["UP", "L7OK", "0", "(tcp-check)"]),
    case("tcpstrlf", &[
            "option tcp-check",
            "tcp-check set-var(check.p) str(hi)",
            "tcp-check expect string-lf \"%[var(check.p)]\"",
        ], AtOnce("+OK hi\r\n"), ["UP", "L7OK", "0", "(tcp-check)"]),
    case("tcpbinlf", &[
            "option tcp-check",
            "tcp-check expect binary-lf \"%[str(hi),hex]\"",
        ], AtOnce("+OK hi\r\n"), ["UP", "L7OK", "0", "(tcp-check)"]),
    case("tcptwo", &[
            "option tcp-check",
            "tcp-check connect",
            "tcp-check expect string OK",
            "tcp-check send A",
            "tcp-check expect string OK",
        ], AtOnce("OK"), ["DOWN", "L7RSP", "", "TCPCHK got an empty response at step 4"]),
    case("tcponlycon", &["option tcp-check", "tcp-check connect"], AtOnce(""), ["UP", "L4OK", "", "(tcp-check)"]),
    case("tcpunset", &[
            "option tcp-check",
            "tcp-check set-var(check.p) str(hi)",
            "tcp-check unset-var(check.p)",
            "tcp-check send-lf \"a%[var(check.p)]b\"",
            "tcp-check expect string OK",
        ], Asked("OK"), ["UP", "L7OK", "0", "(tcp-check)"]).asked("ab"),
    case("http302", &["option httpchk"], Asked("HTTP/1.0 302 Xy\r\nContent-Length: 1\r\n\r\nx"), ["UP", "L7OK", "302", ""]).asked("options / http/1.0\r\n\r\n"),
    case("http100", &["option httpchk", "http-check expect status 200"], Asked(
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.0 200 OK\r\nContent-Length: 12\r\nX-A: one, two\r\nSet-Cookie: sessid=1\r\n\r\nhello world\n",
        ), ["DOWN", "L7STS", "100", "Continue"]).asked("options / http/1.0\r\n\r\n"),
    case("addrrule", &[
            "option tcp-check",
            "tcp-check connect addr 127.0.0.1 port 1",
        ], AtOnce(""), ["DOWN", "L4CON", "", "Connection refused at step 1 of tcp-check (connect port 1)"]),
];
