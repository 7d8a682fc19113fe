//! Cluster DNS: names of Services and pods (addresses, and ports as SRV records) from what the agent
//! knows, everything else from the machine's own name server. UDP and TCP, at the node's address.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hickory_proto::op::{Message, MessageType, Metadata, ResponseCode};
use hickory_proto::rr::rdata::SRV;
use hickory_proto::rr::{Name, RData, Record, RecordType};
use parking_lot::RwLock;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::Semaphore;

use super::super::View;
use super::super::hosts::{self, PortOf};

/// Short, for pods come and go.
const TTL: u32 = 5;
/// Of every SRV record: all are as good.
const WEIGHT: u16 = 100;
const MAX_QUESTION: usize = 4096;
/// What fits into a datagram for sure; more is asked for by TCP.
const MAX_DATAGRAM: usize = 1232;
const MAX_AT_ONCE: usize = 256;
const UPSTREAM_TIMEOUT: Duration = Duration::from_secs(2);
const IDLE_TIMEOUT: Duration = Duration::from_secs(10);

/// The cluster's names. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Names(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// With a dot at both ends: `.cluster.local.`
    suffix: String,
    services: RwLock<Services>,
}

/// What is known of Services, all of it by `<service>.<namespace>` with something in front for some.
#[derive(Debug, Default)]
struct Services {
    addresses: BTreeMap<String, BTreeSet<IpAddr>>,
    ports: BTreeMap<String, BTreeSet<PortOf>>,
}

/// What is known of a name.
#[derive(Debug, PartialEq, Eq)]
enum Found {
    /// Where it is, and the ports it stands for.
    There(BTreeSet<IpAddr>, BTreeSet<PortOf>),
    /// Of this cluster, and not there.
    Nothing,
    /// Not of this cluster.
    Foreign,
}

impl Names {
    pub(super) fn new(domain: &str) -> Self {
        Self(Arc::new(Inner {
            suffix: format!(".{}.", domain.trim_matches('.').to_ascii_lowercase()),
            services: RwLock::default(),
        }))
    }

    /// Takes the cluster's Services over.
    pub(super) fn replace(&self, view: &View) {
        *self.0.services.write() = Services::new(hosts::names(view), hosts::ports(view));
    }

    fn find(&self, name: &str) -> Found {
        let name = name.to_ascii_lowercase();
        let Some(name) = name.strip_suffix(&self.0.suffix) else {
            return Found::Foreign;
        };
        if let Some(service) = name.strip_suffix(".svc") {
            return self.0.services.read().find(service);
        }
        // `10-244-0-9.<namespace>.pod`: a pod by its address, as cluster DNS has always done it.
        let pod = name.strip_suffix(".pod").and_then(|p| p.split_once('.'));
        match pod.and_then(|(ip, _)| ip.replace('-', ".").parse().ok()) {
            Some(ip) => Found::There(BTreeSet::from([ip]), BTreeSet::new()),
            None => Found::Nothing,
        }
    }

    /// The answer to a question; `None` if somebody else must be asked.
    fn answer(&self, question: &Message) -> Option<Message> {
        let mut answer = Message::response(question.metadata.id, question.metadata.op_code);
        answer.metadata = Metadata::response_from_request(&question.metadata);
        answer.metadata.recursion_available = true;
        answer.add_queries(question.queries.iter().cloned());
        let [asked] = question.queries.as_slice() else {
            answer.metadata.response_code = ResponseCode::FormErr;
            return Some(answer);
        };
        match self.find(&asked.name().to_ascii()) {
            Found::Foreign => return None,
            Found::Nothing => answer.metadata.response_code = ResponseCode::NXDomain,
            Found::There(addresses, ports) => {
                let records = addresses
                    .into_iter()
                    .filter_map(|ip| record(asked.name(), asked.query_type(), ip));
                answer.add_answers(records);
                if asked.query_type() == RecordType::SRV {
                    self.name_ports(asked.name(), &ports, &mut answer);
                }
            }
        }
        answer.metadata.authoritative = true;
        Some(answer)
    }
}

impl Names {
    /// SRV records, and beside them where each one's target is.
    fn name_ports(&self, name: &Name, ports: &BTreeSet<PortOf>, answer: &mut Message) {
        let mut targets = BTreeMap::new();
        for port in ports {
            let target = format!("{}.svc{}", port.target, self.0.suffix);
            // A host's name that cannot be one in DNS is left out.
            let Ok(target) = Name::from_ascii(target) else {
                continue;
            };
            let data = RData::SRV(SRV::new(0, WEIGHT, port.port, target.clone()));
            answer.add_answer(Record::from_rdata(name.clone(), TTL, data));
            targets.insert(target, port.address);
        }
        for (target, ip) in targets {
            answer.add_additionals(record(&target, RecordType::ANY, ip));
        }
    }
}

impl Services {
    fn new(
        mut addresses: BTreeMap<String, BTreeSet<IpAddr>>,
        ports: BTreeMap<String, BTreeSet<PortOf>>,
    ) -> Self {
        for port in ports.values().flatten() {
            let target = addresses.entry(port.target.clone()).or_default();
            target.insert(port.address);
        }
        Self { addresses, ports }
    }

    fn find(&self, name: &str) -> Found {
        match (self.addresses.get(name), self.ports.get(name)) {
            (None, None) => Found::Nothing,
            (addresses, ports) => Found::There(
                addresses.cloned().unwrap_or_default(),
                ports.cloned().unwrap_or_default(),
            ),
        }
    }
}

fn record(name: &Name, wanted: RecordType, ip: IpAddr) -> Option<Record> {
    let data = match (wanted, ip) {
        (RecordType::A | RecordType::ANY, IpAddr::V4(ip)) => RData::A(ip.into()),
        (RecordType::AAAA | RecordType::ANY, IpAddr::V6(ip)) => RData::AAAA(ip.into()),
        _ => return None,
    };
    Some(Record::from_rdata(name.clone(), TTL, data))
}

/// The listeners.
pub(super) struct Server {
    udp: Arc<UdpSocket>,
    tcp: TcpListener,
    responder: Arc<Responder>,
}

struct Responder {
    names: Names,
    upstream: Option<SocketAddr>,
    slots: Arc<Semaphore>,
}

impl Server {
    pub(super) async fn bind(at: SocketAddr, names: Names) -> io::Result<Self> {
        let resolv = std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
        let named = |e: io::Error| {
            let text = format!("cannot answer names at {at} (is port 53 taken?): {e}");
            io::Error::new(e.kind(), text)
        };
        Ok(Self {
            udp: Arc::new(UdpSocket::bind(at).await.map_err(named)?),
            tcp: mesh_daemon::net::bind(at).await.map_err(named)?,
            responder: Arc::new(Responder {
                names,
                upstream: upstream(&resolv),
                slots: Arc::new(Semaphore::new(MAX_AT_ONCE)),
            }),
        })
    }

    pub(super) async fn run(self) -> io::Result<()> {
        let mut bytes = [0; MAX_QUESTION];
        loop {
            tokio::select! {
                received = self.udp.recv_from(&mut bytes) => {
                    // An error is about an answer nobody took any more.
                    let Ok((length, asker)) = received else { continue };
                    let question = bytes[..length].to_vec();
                    let (udp, responder) = (self.udp.clone(), self.responder.clone());
                    let Ok(slot) = responder.slots.clone().try_acquire_owned() else { continue };
                    tokio::spawn(async move {
                        if let Some(answer) = responder.respond(&question, Some(MAX_DATAGRAM)).await {
                            let _asker_gone = udp.send_to(&answer, asker).await;
                        }
                        drop(slot);
                    });
                }
                (stream, _) = mesh_daemon::net::accept(&self.tcp) => {
                    let responder = self.responder.clone();
                    let Ok(slot) = responder.slots.clone().try_acquire_owned() else { continue };
                    tokio::spawn(async move {
                        let _asker_gone = responder.converse(stream).await;
                        drop(slot);
                    });
                }
            }
        }
    }
}

impl Responder {
    /// `None` for what is no question.
    async fn respond(&self, bytes: &[u8], limit: Option<usize>) -> Option<Vec<u8>> {
        let question = Message::from_vec(bytes).ok()?;
        if question.metadata.message_type != MessageType::Query {
            return None;
        }
        let Some(answer) = self.names.answer(&question) else {
            return match self.ask_upstream(bytes).await {
                Ok(answer) => Some(answer),
                Err(error) => {
                    tracing::debug!(%error, "the machine's name server does not answer");
                    let (id, op_code) = (question.metadata.id, question.metadata.op_code);
                    let mut failed = Message::error_msg(id, op_code, ResponseCode::ServFail);
                    failed.add_queries(question.queries);
                    failed.to_vec().ok()
                }
            };
        };
        let whole = answer.to_vec().ok()?;
        match limit {
            Some(limit) if whole.len() > limit => answer.truncate().to_vec().ok(),
            _ => Some(whole),
        }
    }

    async fn ask_upstream(&self, question: &[u8]) -> io::Result<Vec<u8>> {
        let Some(upstream) = self.upstream else {
            return Err(io::Error::other("/etc/resolv.conf names none"));
        };
        let any: IpAddr = if upstream.is_ipv4() {
            [0; 4].into()
        } else {
            [0; 16].into()
        };
        let socket = UdpSocket::bind((any, 0)).await?;
        socket.connect(upstream).await?;
        socket.send(question).await?;
        let mut answer = vec![0; MAX_QUESTION];
        let length = tokio::time::timeout(UPSTREAM_TIMEOUT, socket.recv(&mut answer)).await??;
        answer.truncate(length);
        Ok(answer)
    }

    async fn converse(&self, mut stream: TcpStream) -> io::Result<()> {
        loop {
            let length = tokio::time::timeout(IDLE_TIMEOUT, stream.read_u16()).await??;
            let mut question = vec![0; usize::from(length)];
            tokio::time::timeout(IDLE_TIMEOUT, stream.read_exact(&mut question)).await??;
            let Some(answer) = self.respond(&question, None).await else {
                return Ok(());
            };
            let length = u16::try_from(answer.len()).map_err(io::Error::other)?;
            stream.write_u16(length).await?;
            stream.write_all(&answer).await?;
        }
    }
}

/// The machine's first name server.
fn upstream(resolv_conf: &str) -> Option<SocketAddr> {
    let mut servers = resolv_conf
        .lines()
        .filter_map(|line| line.trim().strip_prefix("nameserver"))
        .filter_map(|rest| rest.trim().parse::<IpAddr>().ok());
    servers
        .next()
        .map(|ip| SocketAddr::new(ip, super::DNS_PORT))
}

#[cfg(test)]
mod tests {
    use super::*;
    use hickory_proto::op::Query;

    fn names() -> Names {
        let names = Names::new("cluster.local");
        let ips = |list: &[&str]| list.iter().map(|ip| ip.parse().unwrap()).collect();
        let addresses = BTreeMap::from([
            ("web.ns".to_owned(), ips(&["10.96.0.1"])),
            ("dst.ns".to_owned(), ips(&["10.244.0.3", "10.244.0.4"])),
        ]);
        let pod = |last: u8| PortOf {
            port: 8086,
            target: format!("10-244-0-{last}.dst.ns"),
            address: [10, 244, 0, last].into(),
        };
        let pods = BTreeSet::from([pod(3), pod(4)]);
        let ports = BTreeMap::from([
            ("dst.ns".to_owned(), pods.clone()),
            ("_grpc._tcp.dst.ns".to_owned(), pods),
        ]);
        *names.0.services.write() = Services::new(addresses, ports);
        names
    }

    fn answered(name: &str, kind: RecordType) -> Option<Message> {
        let mut question = Message::query();
        question.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
        let answer = names().answer(&question)?;
        assert_eq!(answer.metadata.id, question.metadata.id);
        Some(answer)
    }

    fn ask(name: &str, kind: RecordType) -> Option<(ResponseCode, Vec<String>)> {
        let answer = answered(name, kind)?;
        let data = answer.answers.iter().map(|r| r.data.to_string()).collect();
        Some((answer.metadata.response_code, data))
    }

    #[test]
    fn services_and_pods_have_addresses() {
        let yes = |data: &[&str]| {
            let data = data.iter().map(|d| (*d).to_owned()).collect();
            Some((ResponseCode::NoError, data))
        };
        let a = RecordType::A;
        assert_eq!(ask("Web.ns.svc.Cluster.Local.", a), yes(&["10.96.0.1"]));
        assert_eq!(
            ask("dst.ns.svc.cluster.local.", a),
            yes(&["10.244.0.3", "10.244.0.4"])
        );
        assert_eq!(
            ask("10-244-0-9.ns.pod.cluster.local.", a),
            yes(&["10.244.0.9"])
        );
        assert_eq!(ask("web.ns.svc.cluster.local.", RecordType::AAAA), yes(&[]));
    }

    /// Linkerd's sidecars ask for these first, and read the address from a target's first label.
    #[test]
    fn ports_are_srv_records_whose_targets_have_addresses() {
        let records = [
            "0 100 8086 10-244-0-3.dst.ns.svc.cluster.local.",
            "0 100 8086 10-244-0-4.dst.ns.svc.cluster.local.",
        ];
        for name in ["dst.ns", "_grpc._tcp.dst.ns"] {
            let name = format!("{name}.svc.cluster.local.");
            let answer = answered(&name, RecordType::SRV).unwrap();
            let said: Vec<_> = answer.answers.iter().map(|r| r.data.to_string()).collect();
            assert_eq!(said, records, "{name}");
            let beside = answer.additionals.iter();
            let beside: Vec<_> = beside.map(|r| format!("{} {}", r.name, r.data)).collect();
            let hosts = [
                "10-244-0-3.dst.ns.svc.cluster.local. 10.244.0.3",
                "10-244-0-4.dst.ns.svc.cluster.local. 10.244.0.4",
            ];
            assert_eq!(beside, hosts, "{name}");
        }
        let (_, address) = ask("10-244-0-3.dst.ns.svc.cluster.local.", RecordType::A).unwrap();
        assert_eq!(address, ["10.244.0.3"]);
        // There, but without such records.
        let nothing = Some((ResponseCode::NoError, Vec::new()));
        assert_eq!(
            ask("_grpc._tcp.dst.ns.svc.cluster.local.", RecordType::A),
            nothing
        );
        assert_eq!(ask("web.ns.svc.cluster.local.", RecordType::SRV), nothing);
    }

    #[test]
    fn a_name_of_the_cluster_that_is_not_there_does_not_exist_and_others_are_asked_elsewhere() {
        let nothing = Some((ResponseCode::NXDomain, Vec::new()));
        assert_eq!(ask("no.ns.svc.cluster.local.", RecordType::A), nothing);
        assert_eq!(
            ask(
                "web.ns.svc.cluster.local.ns.svc.cluster.local.",
                RecordType::A
            ),
            nothing
        );
        assert_eq!(ask("example.com.", RecordType::A), None);
        assert_eq!(ask("notcluster.local.", RecordType::A), None);
    }

    #[test]
    fn the_machines_name_server_is_the_first_one_named() {
        let text = "# x\nsearch a\nnameserver bad\nnameserver 10.0.0.2\nnameserver 10.0.0.3\n";
        assert_eq!(upstream(text), Some("10.0.0.2:53".parse().unwrap()));
        assert_eq!(upstream(""), None);
    }

    #[tokio::test]
    async fn names_are_answered_by_udp_and_by_tcp() {
        let server = Server::bind("127.0.0.1:0".parse().unwrap(), names())
            .await
            .unwrap();
        let (udp, tcp) = (
            server.udp.local_addr().unwrap(),
            server.tcp.local_addr().unwrap(),
        );
        tokio::spawn(server.run());
        let mut question = Message::query();
        let name = Name::from_ascii("web.ns.svc.cluster.local.").unwrap();
        question.add_query(Query::query(name, RecordType::A));
        let question = question.to_vec().unwrap();

        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        socket.send_to(&question, udp).await.unwrap();
        let mut bytes = [0; 512];
        let length = socket.recv(&mut bytes).await.unwrap();
        assert_eq!(
            Message::from_vec(&bytes[..length]).unwrap().answers.len(),
            1
        );

        let mut stream = TcpStream::connect(tcp).await.unwrap();
        stream
            .write_u16(u16::try_from(question.len()).unwrap())
            .await
            .unwrap();
        stream.write_all(&question).await.unwrap();
        let mut answer = vec![0; usize::from(stream.read_u16().await.unwrap())];
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(Message::from_vec(&answer).unwrap().answers.len(), 1);
    }
}
