//! Prefixes, and who stands before them.

use super::{Bench, HERE, TCP, ip};
use aya::maps::lpm_trie::Key;
use packet::abi::{self, GatewayKey, Prefix, PrefixKey, Service, ServiceKey};
use std::net::SocketAddr;

/// Bits as the tables count them.
fn bits(ip: std::net::IpAddr, bits: u32) -> u32 {
    bits + if ip.is_ipv4() { 96 } else { 0 }
}

impl Bench {
    /// A prefix in a place, with these bits of [`abi::vip`].
    pub fn prefix(&mut self, place: u32, text: &str, kinds: u32) -> PrefixKey {
        let (address, length) = text.split_once('/').expect("a prefix");
        let length = bits(ip(address), length.parse().expect("a number"));
        let address = abi::address(ip(address));
        let key = PrefixKey { place, address };
        let value = Prefix {
            address,
            kinds,
            bits: length,
        };
        let mut prefixes = self.0.prefixes().expect("prefixes");
        let entry = Key::new(32 + length, key);
        prefixes.insert(&entry, value, 0).expect("fits");
        key
    }

    /// A service of a prefix in a place of [`HERE`], for any port and protocol or for one of TCP; the index of its
    /// first server.
    pub fn serve_prefix(
        &mut self,
        place: u32,
        text: &str,
        port: u16,
        service: Service,
        servers: &[SocketAddr],
    ) -> u32 {
        let kind = if port == 0 {
            abi::vip::ANY
        } else {
            abi::vip::PORT
        };
        let key = self.prefix(place, text, kind);
        let first = self.servers(servers);
        let turns: Vec<u32> = (first..).take(servers.len()).collect();
        self.0.set_table(first, &turns).expect("a table");
        let length: u32 = text
            .split_once('/')
            .expect("a prefix")
            .1
            .parse()
            .expect("a number");
        let key = ServiceKey {
            address: key.address,
            place,
            port: port.to_be(),
            proto: if port == 0 { 0 } else { TCP },
            bits: bits(abi::ip(&key.address), length) as u8,
        };
        let service = Service {
            table: first,
            size: turns.len() as u32,
            ifindex: [if place == 0 { 0 } else { HERE }, 0, 0, 0],
            ..service
        };
        let mut services = self.0.services().expect("services");
        services.insert(key, service, 0).expect("fits");
        first
    }

    /// Frames from this address on the link in a place come from this server; the upper half is the VLAN of those who
    /// are not beyond.
    pub fn gateway(&mut self, place: u32, mac: [u8; 6], family: u16, server: u32) {
        let key = GatewayKey { mac, family, place };
        let mut gateways = self.0.gateways().expect("gateways");
        gateways.insert(key, server, 0).expect("fits");
    }
}
