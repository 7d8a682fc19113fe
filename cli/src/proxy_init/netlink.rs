//! The rules in the kernel's own language: messages of `nf_tables` over netlink. Pure.
//!
//! One batch is one transaction. Numbers in attributes are big-endian, those in headers are the
//! machine's. Names of constants are those of `linux/netfilter/nf_tables.h`.

use super::{
    rules::{Family, Hook, Match, Redirect, Rule, Verdict},
    script::{self, TABLE},
};
use ipnet::IpNet;
use std::net::IpAddr;

/// `NFNL_SUBSYS_NFTABLES`.
const NF_TABLES: u16 = 10;
/// `NFNL_MSG_BATCH_BEGIN` and `NFNL_MSG_BATCH_END`.
const BEGIN: u16 = 0x10;
const END: u16 = 0x11;
/// `NFT_MSG_…`.
const NEW_TABLE: u16 = command(0);
const DEL_TABLE: u16 = command(2);
const NEW_CHAIN: u16 = command(3);
const NEW_RULE: u16 = command(6);
const GET_GENERATION: u16 = command(16);
/// `NLM_F_…`.
const REQUEST: u16 = 0x1;
const ACKNOWLEDGE: u16 = 0x4;
const CREATE: u16 = 0x400;
const APPEND: u16 = 0x800;

const HEADER: usize = 16;

const fn command(message: u16) -> u16 {
    NF_TABLES << 8 | message
}

/// Messages for the kernel, to be sent as one datagram.
#[derive(Default)]
pub(super) struct Batch {
    pub(super) bytes: Vec<u8>,
    /// What each message asks for, by its sequence number.
    asks: Vec<String>,
    /// How many of them are to be acknowledged.
    acknowledgements: usize,
}

/// What replaces all that an earlier run made, in one transaction.
pub(super) fn batch(redirect: &Redirect, families: &[Family]) -> Batch {
    let mut batch = Batch::default();
    batch.boundary(BEGIN);
    for family in families {
        let table = || Attributes::default().text(1, TABLE);
        // What is not there cannot be deleted.
        batch.ask("the table", *family, NEW_TABLE, CREATE, table());
        batch.ask("emptying the table", *family, DEL_TABLE, 0, table());
        batch.ask("the table", *family, NEW_TABLE, CREATE, table());
        for (hook, name, number) in [
            (Hook::Inbound, "inbound", 0_u32), // NF_INET_PRE_ROUTING
            (Hook::Outbound, "outbound", 3),   // NF_INET_LOCAL_OUT
        ] {
            let chain = table()
                .text(3, name)
                .nested(
                    4,
                    Attributes::default()
                        .number(1, number)
                        .bytes(2, &(-100_i32).to_be_bytes()), // NF_IP_PRI_NAT_DST
                )
                .number(5, 1) // NF_ACCEPT
                .text(7, "nat");
            let ask = format!("the chain {name}");
            batch.ask(&ask, *family, NEW_CHAIN, CREATE, chain);
            for rule in redirect.rules(hook, *family) {
                let spelt = script::nft_rule(&rule, hook, *family);
                let ask = format!("the rule `{spelt}` of the chain {name}");
                let rule = table().text(2, name).nested(4, expressions(&rule, hook));
                batch.ask(&ask, *family, NEW_RULE, CREATE | APPEND, rule);
            }
        }
        // Changes nothing; that this was understood tells that all before was.
        let all = "the whole table";
        batch.ask(all, *family, NEW_TABLE, ACKNOWLEDGE, table());
    }
    batch.boundary(END);
    batch
}

/// A question that every kernel with `nf_tables` has an answer to.
pub(super) fn generation() -> Batch {
    let mut batch = Batch::default();
    batch.message("its generation", GET_GENERATION, ACKNOWLEDGE, [0; 4], &[]);
    batch
}

impl Batch {
    fn boundary(&mut self, kind: u16) {
        let [high, low] = NF_TABLES.to_be_bytes();
        self.message("the transaction", kind, 0, [0, 0, high, low], &[]);
    }

    fn ask(&mut self, what: &str, family: Family, kind: u16, flags: u16, with: Attributes) {
        let (number, name) = match family {
            Family::V4 => (2, "IPv4"),
            Family::V6 => (10, "IPv6"),
        };
        let what = format!("{what} for {name}");
        self.message(&what, kind, flags, [number, 0, 0, 0], &with.0);
    }

    /// `generic` is the header of all netfilter messages: family, version and subsystem.
    fn message(&mut self, what: &str, kind: u16, flags: u16, generic: [u8; 4], with: &[u8]) {
        let length = HEADER + generic.len() + with.len();
        let sequence = self.asks.len();
        self.bytes.extend(to_u32(length).to_ne_bytes());
        self.bytes.extend(kind.to_ne_bytes());
        self.bytes.extend((REQUEST | flags).to_ne_bytes());
        self.bytes.extend(to_u32(sequence).to_ne_bytes());
        self.bytes.extend([0; 4]); // the sender; the kernel knows
        self.bytes.extend(generic);
        self.bytes.extend(with);
        self.asks.push(what.to_owned());
        self.acknowledgements += usize::from(flags & ACKNOWLEDGE != 0);
    }

    /// What the datagrams say that the kernel has answered so far. An error comes before the
    /// acknowledgement of what was asked for after it.
    pub(super) fn answer(&mut self, mut datagram: &[u8]) -> Answer {
        while let Some((reply, rest)) = Reply::first(datagram) {
            datagram = rest;
            let Some(code) = reply.error else {
                continue; // what was asked for, of which nothing is of interest
            };
            if code != 0 {
                let ask = usize::try_from(reply.sequence).ok();
                let ask = ask.and_then(|sequence| self.asks.get(sequence));
                return Answer::Refused {
                    ask: ask.map_or("the transaction", String::as_str).to_owned(),
                    errno: code.unsigned_abs().cast_signed(),
                };
            }
            self.acknowledgements = self.acknowledgements.saturating_sub(1);
        }
        if self.acknowledgements == 0 {
            Answer::Done
        } else {
            Answer::More
        }
    }
}

/// What the kernel says to a batch.
#[derive(Debug, PartialEq)]
pub(super) enum Answer {
    Done,
    /// There is more to come.
    More,
    Refused {
        ask: String,
        errno: i32,
    },
}

/// One message of the kernel's.
struct Reply {
    sequence: u32,
    /// Of an `NLMSG_ERROR`: 0 or a negative error number.
    error: Option<i32>,
}

impl Reply {
    /// The first of a datagram, and the rest of it.
    fn first(datagram: &[u8]) -> Option<(Self, &[u8])> {
        const ERROR: u16 = 2;
        let (length, header) = datagram.split_first_chunk::<4>()?;
        let length = usize::try_from(u32::from_ne_bytes(*length)).ok()?;
        let (kind, header) = header.split_first_chunk::<2>()?;
        let (_flags, header) = header.split_first_chunk::<2>()?;
        let (sequence, header) = header.split_first_chunk::<4>()?;
        let (_receiver, body) = header.split_first_chunk::<4>()?;
        let error = match u16::from_ne_bytes(*kind) {
            ERROR => Some(i32::from_ne_bytes(*body.first_chunk()?)),
            _ => None,
        };
        let rest = datagram.get(length.max(HEADER).next_multiple_of(4)..);
        let reply = Self {
            sequence: u32::from_ne_bytes(*sequence),
            error,
        };
        Some((reply, rest.unwrap_or_default()))
    }
}

/// Lengths and sequence numbers here are of what a few flags make.
fn to_u32(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

/// Attributes, one after the other.
#[derive(Default)]
struct Attributes(Vec<u8>);

impl Attributes {
    fn bytes(mut self, kind: u16, value: &[u8]) -> Self {
        // The expressions of a rule and their names are far shorter than what fits.
        let length = u16::try_from(4 + value.len()).unwrap_or(u16::MAX);
        self.0.extend(length.to_ne_bytes());
        self.0.extend(kind.to_ne_bytes());
        self.0.extend(value);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self
    }

    fn number(self, kind: u16, value: u32) -> Self {
        self.bytes(kind, &value.to_be_bytes())
    }

    fn text(self, kind: u16, value: &str) -> Self {
        self.bytes(kind, &[value.as_bytes(), &[0]].concat())
    }

    fn nested(self, kind: u16, inner: Self) -> Self {
        const NESTED: u16 = 0x8000; // NLA_F_NESTED
        self.bytes(kind | NESTED, &inner.0)
    }

    /// `NFTA_LIST_ELEM` with an expression.
    fn expression(self, name: &str, data: Self) -> Self {
        let expression = Self::default().text(1, name).nested(2, data);
        self.nested(1, expression)
    }

    /// Reads something of the packet or its socket (`NFT_META_…`) into the register.
    fn meta(self, key: u32) -> Self {
        let data = Self::default().number(1, REGISTER).number(2, key);
        self.expression("meta", data)
    }

    /// Reads bytes of a header (`NFT_PAYLOAD_…_HEADER`) into the register.
    fn payload(self, header: u32, offset: u32, length: usize) -> Self {
        let data = Self::default()
            .number(1, REGISTER)
            .number(2, header)
            .number(3, offset)
            .number(4, to_u32(length));
        self.expression("payload", data)
    }

    /// Goes on if the register compares so (`NFT_CMP_…`).
    fn compare(self, operation: u32, value: &[u8]) -> Self {
        let data = Self::default()
            .number(1, REGISTER)
            .number(2, operation)
            .nested(3, Self::default().bytes(1, value));
        self.expression("cmp", data)
    }

    /// Keeps of the register what is in the mask.
    fn mask(self, mask: &[u8]) -> Self {
        let data = Self::default()
            .number(1, REGISTER)
            .number(2, REGISTER)
            .number(3, to_u32(mask.len()))
            .nested(4, Self::default().bytes(1, mask))
            .nested(5, Self::default().bytes(1, &vec![0; mask.len()]));
        self.expression("bitwise", data)
    }

    fn immediate(self, register: u32, data: Self) -> Self {
        let data = Self::default().number(1, register).nested(2, data);
        self.expression("immediate", data)
    }
}

/// `NFT_REG_1`, which holds up to 16 bytes.
const REGISTER: u32 = 1;
/// `NFT_REG_VERDICT`.
const VERDICT: u32 = 0;
/// `NFT_CMP_…`.
const EQUAL: u32 = 0;
const AT_MOST: u32 = 3;
const AT_LEAST: u32 = 5;

/// A rule as what the kernel works off, step by step.
fn expressions(rule: &Rule, hook: Hook) -> Attributes {
    let tcp = || Attributes::default().meta(16).compare(EQUAL, &[6]); // L4PROTO
    let packets = match &rule.packets {
        Match::Loopback => {
            let mut name = [0; 16];
            name[..2].copy_from_slice(b"lo");
            let key = match hook {
                Hook::Inbound => 6,  // IIFNAME
                Hook::Outbound => 7, // OIFNAME
            };
            Attributes::default().meta(key).compare(EQUAL, &name)
        }
        Match::User(uid) => of_socket(10, *uid),  // SKUID
        Match::Group(gid) => of_socket(11, *gid), // SKGID
        Match::Subnet(subnet) => addressed(subnet, hook),
        Match::Port(ports) => {
            let (first, last) = (ports.first.to_be_bytes(), ports.last.to_be_bytes());
            let port = tcp().payload(2, 2, first.len()); // TRANSPORT; where it goes to
            if first == last {
                port.compare(EQUAL, &first)
            } else {
                port.compare(AT_LEAST, &first).compare(AT_MOST, &last)
            }
        }
        Match::Tcp => tcp(),
    };
    match rule.verdict {
        Verdict::Return => {
            let code = Attributes::default().bytes(1, &(-5_i32).to_be_bytes()); // NFT_RETURN
            packets.immediate(VERDICT, Attributes::default().nested(2, code))
        }
        Verdict::Redirect(port) => {
            let port = Attributes::default().bytes(1, &port.to_be_bytes());
            let data = Attributes::default().number(1, REGISTER);
            packets.immediate(REGISTER, port).expression("redir", data)
        }
    }
}

/// What the kernel keeps of a socket is in the machine's byte order.
fn of_socket(key: u32, id: u32) -> Attributes {
    Attributes::default()
        .meta(key)
        .compare(EQUAL, &id.to_ne_bytes())
}

fn addressed(subnet: &IpNet, hook: Hook) -> Attributes {
    let octets = |address: IpAddr| match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    };
    let network = octets(subnet.network());
    // Where the header has the sender; the receiver follows it.
    let sender = match subnet {
        IpNet::V4(_) => 12,
        IpNet::V6(_) => 8,
    };
    let offset = match hook {
        Hook::Inbound => sender,
        Hook::Outbound => sender + to_u32(network.len()),
    };
    Attributes::default()
        .payload(1, offset, network.len()) // NETWORK
        .mask(&octets(subnet.netmask()))
        .compare(EQUAL, &network)
}

#[cfg(test)]
mod tests {
    use super::{super::rules::tests::redirect, *};

    fn batch() -> Batch {
        let redirect = Redirect {
            skip_inbound: Vec::new(),
            skip_outbound: Vec::new(),
            skip_subnets: Vec::new(),
            ..redirect()
        };
        super::batch(&redirect, &[Family::V4, Family::V6])
    }

    /// An `NLMSG_ERROR` as the kernel makes it, without what it quotes.
    fn reply(sequence: u32, error: i32) -> Vec<u8> {
        [
            &20_u32.to_ne_bytes()[..],
            &2_u16.to_ne_bytes(),
            &[0; 2],
            &sequence.to_ne_bytes(),
            &[0; 4],
            &error.to_ne_bytes(),
        ]
        .concat()
    }

    #[test]
    fn a_batch_is_done_when_each_family_is_acknowledged() {
        let mut batch = batch();
        assert_eq!(batch.answer(&reply(7, 0)), Answer::More);
        assert_eq!(batch.answer(&reply(15, 0)), Answer::Done);
    }

    #[test]
    fn a_refusal_names_what_was_asked_for() {
        let mut batch = batch();
        let datagram = [reply(3, 0), reply(5, -13)].concat();
        let Answer::Refused { ask, errno } = batch.answer(&datagram) else {
            panic!("not refused");
        };
        assert!(
            ask.contains("iifname \"lo\" return") && ask.contains("inbound for IPv4"),
            "{ask}"
        );
        assert_eq!(errno, 13);
    }

    #[test]
    fn what_is_no_reply_is_passed_over() {
        let mut batch = batch();
        for bytes in [&[][..], &[0; 3], &[0; 64], &[255; 64], &reply(1, -1)[..18]] {
            assert_eq!(batch.answer(bytes), Answer::More, "{bytes:?}");
        }
        let unknown = batch.answer(&reply(u32::MAX, -1));
        assert!(
            matches!(unknown, Answer::Refused { errno: 1, .. }),
            "{unknown:?}"
        );
    }
}
