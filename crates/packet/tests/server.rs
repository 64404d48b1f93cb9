//! On a server of `forward dscp`: which errors are for its virtual address. The mark has done its work then.

mod common;

use aya::maps::HashMap;
use aya::programs::{TestRun as _, TestRunOptions, Xdp};
use aya::{Ebpf, Pod};
use common::*;
use packet::abi;

static SERVER: &[u8] = aya::include_bytes_aligned!("../bpf/server.bpf.o");

/// `struct point` of `bpf/server.bpf.c`.
#[repr(C)]
#[derive(Clone, Copy)]
struct Point {
    dscp: u32,
    family: u32,
}

// SAFETY: integers without padding; any bytes are a value.
unsafe impl Pod for Point {}

const MARK: u8 = 48;

fn pass(program: &Xdp, frame: &[u8]) -> Vec<u8> {
    let mut out = vec![0; frame.len() + 256];
    let mut options = TestRunOptions::new();
    options.data_in = Some(frame);
    options.data_out = Some(&mut out);
    let result = program.test_run(options).expect("it runs");
    assert_eq!(result.return_value, XDP_PASS);
    out.truncate(result.data_size_out as usize);
    out
}

#[test]
fn errors_are_for_the_virtual_address_only_where_they_are_about_its_packets() {
    // SAFETY: plain call.
    if unsafe { libc::geteuid() } != 0 {
        println!("not root: packets were not run through the program");
        return;
    }
    let mut object = Ebpf::load(SERVER).expect("it loads");
    let ends = [
        (
            "192.0.2.7:4000",
            "203.0.113.1:80",
            "10.0.0.11:0",
            "10.9.9.9:0",
        ),
        (
            "[2001:db8::7]:4000",
            "[2001:db8:1::1]:80",
            "[fd00::11]:0",
            "[fd00:9::9]:0",
        ),
    ];
    let table = object.map_mut("marked").expect("it is there");
    let mut table: HashMap<_, Point, [u8; 16]> = HashMap::try_from(table).expect("a table");
    for (family, (_, vip, ..)) in [4, 6].into_iter().zip(ends) {
        let point = Point {
            dscp: MARK.into(),
            family,
        };
        let vip = abi::address(at(vip).ip());
        table.insert(point, vip, 0).expect("it fits");
    }
    let program = object.program_mut("server").expect("it is there");
    let program: &mut Xdp = program.try_into().expect("of XDP");
    program.load().expect("the kernel takes it");
    for (client, vip, server, router) in ends {
        let (kind, code) = if at(vip).is_ipv4() { (3, 4) } else { (2, 0) };
        let error = |from: &str| Frame {
            tos: MARK << 2,
            ..frame(
                router,
                server,
                Load::Icmp {
                    kind,
                    code,
                    word: 1400,
                    data: tcp(from, client, ACK, b"answer").packet(),
                },
            )
        };
        let ours = error(vip);
        let mut address = at(vip);
        address.set_port(0);
        let wanted = Frame {
            dst: address,
            tos: 0,
            ..ours.clone()
        };
        same(
            &pass(program, &ours.bytes()),
            &wanted.bytes(),
            "of the address",
        );
        let mut own = at(server);
        own.set_port(22);
        let others = error(&own.to_string()).bytes();
        same(&pass(program, &others), &others, "of the server itself");
    }
}
