//! Clients of MQTT by what their first packet says, the same through mulgil and through the oracle.

use lab::{each, get, port};

/// CONNECT of 3.1.1 with user and password, of 5.0 with properties and a will, and damaged ones.
const PACKETS: [(&str, &str); 7] = [
    (
        "111b00044d51545404c2003c0003636c69000475736572000470617373",
        "0||",
    ),
    (
        "101b00044d51545404c2003c0003636c690004757365720004706173",
        "||",
    ),
    (
        "101b00044d51545404c2003c0003636c69000475736572000470617373",
        "1|cli user pass 194 MQTT 4 60|",
    ),
    (
        "102500044d5154540506003c0811000000092100050003636c690005180000000700016200016d",
        "1|cli   6 MQTT 5 60|9 5 b m",
    ),
    ("20020000", "1||"),
    ("20020200", "0||"),
    ("474554202f20", "0||"),
];

#[test]
fn packets_are_read_as_the_oracle_reads_them() {
    each(|program| {
        let port = port();
        let mut config = format!(
            "defaults\n    mode http\n    timeout client 2s\n    timeout server 2s\n    timeout connect 2s\nfrontend f\n    bind 127.0.0.1:{port}\n"
        );
        for (at, (packet, _)) in PACKETS.iter().enumerate() {
            let field = |name: &str| format!("%[bin({packet}),mqtt_field_value(connect,{name})]");
            let names = [
                "client_identifier",
                "username",
                "password",
                "flags",
                "protocol_name",
                "protocol_version",
                "keepalive",
            ];
            let names = names.map(field).join(" ");
            let properties = ["17", "33", "will_topic", "will_payload"]
                .map(field)
                .join(" ");
            config.push_str(&format!(
                "    http-request return status 200 content-type text/plain lf-string \"%[bin({packet}),mqtt_is_valid]|{names}|{properties}\" if {{ path /{at} }}\n"
            ));
        }
        let _proxy = lab::Proxy::start(program, &config);
        for (at, (packet, wanted)) in PACKETS.iter().enumerate() {
            let seen = get(port, &format!("/{at}")).body;
            let trimmed: Vec<_> = seen.split('|').map(str::trim).collect();
            assert_eq!(trimmed.join("|"), *wanted, "{}: {packet}", program.name);
        }
    });
}
