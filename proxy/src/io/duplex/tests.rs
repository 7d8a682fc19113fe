use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use super::*;
use crate::io::{Passed, write_through};

#[tokio::test]
async fn bytes_pass_both_ways_and_each_end_by_itself() {
    // Small pipes: most of what is read cannot be written at once.
    let (mut client, near) = tokio::io::duplex(1000);
    let (far, mut server) = tokio::io::duplex(7);
    let copying = tokio::spawn(duplex(near, far));
    let request: Vec<u8> = (0..50_000_u32).map(|i| (i % 251) as u8).collect();
    let sent = request.clone();
    let serving = tokio::spawn(async move {
        let mut received = Vec::new();
        server.read_to_end(&mut received).await.unwrap();
        server.write_all(b"the answer").await.unwrap();
        received
    });
    client.write_all(&sent).await.unwrap();
    client.shutdown().await.unwrap();
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).await.unwrap();
    assert_eq!(answer, b"the answer");
    assert_eq!(serving.await.unwrap(), request);
    assert_eq!(copying.await.unwrap().unwrap(), (50_000, 10));
}

/// Both ends of a connection.
async fn sockets() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let near = TcpStream::connect(listener.local_addr().unwrap());
    let (near, far) = tokio::join!(near, listener.accept());
    (near.unwrap(), far.unwrap().0)
}

/// A socket that is told what passes it, and may hide.
struct Told<I> {
    io: I,
    hidden: bool,
    told: Arc<[AtomicUsize; 2]>,
}

impl Told<TcpStream> {
    fn new(io: TcpStream, hidden: bool) -> (Self, Arc<[AtomicUsize; 2]>) {
        let told = Arc::new([const { AtomicUsize::new(0) }; 2]);
        let passed = told.clone();
        (Self { io, hidden, told }, passed)
    }
}

impl Io for Told<TcpStream> {
    fn socket(&self) -> Option<&TcpStream> {
        (!self.hidden).then_some(&self.io)
    }

    fn passed(&mut self, passed: Passed<'_>) {
        let (which, n) = match passed {
            Passed::Read(n) => (0, n),
            Passed::Written(n) => (1, n),
            Passed::Failed(error) => panic!("{error}"),
        };
        self.told[which].fetch_add(n, Ordering::Relaxed);
    }
}

mesh_tls::read_through!(Told);
write_through!(Told);

/// Copies `bytes` from one client to another and back as a short answer; how many bytes passed
/// each of both sockets by.
async fn transfer(bytes: &[u8], hidden: bool) -> [Arc<[AtomicUsize; 2]>; 2] {
    let (mut client, near) = sockets().await;
    let (far, mut server) = sockets().await;
    let (near, told_near) = Told::new(near, false);
    let (far, told_far) = Told::new(far, hidden);
    let sent = bytes.to_vec();
    let copying = tokio::spawn(duplex(near, far));
    let serving = tokio::spawn(async move {
        let mut received = Vec::new();
        server.read_to_end(&mut received).await.unwrap();
        server.write_all(b"the answer").await.unwrap();
        received
    });
    let asking = tokio::spawn(async move {
        client.write_all(&sent).await.unwrap();
        client.shutdown().await.unwrap();
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).await.unwrap();
        assert_eq!(answer, b"the answer");
    });
    assert!(serving.await.unwrap() == bytes, "other bytes came");
    asking.await.unwrap();
    let copied = copying.await.unwrap().unwrap();
    assert_eq!(copied, (bytes.len() as u64, 10));
    [told_near, told_far]
}

#[tokio::test]
async fn much_between_sockets_passes_inside_the_kernel() {
    let bytes: Vec<u8> = (0..20_000_000_u32).map(|i| (i % 251) as u8).collect();
    let [near, far] = transfer(&bytes, false).await;
    let passed = near[0].load(Ordering::Relaxed);
    assert!(passed > bytes.len() / 2, "{passed} of {}", bytes.len());
    assert_eq!(far[1].load(Ordering::Relaxed), passed);
    // The answer was short.
    assert_eq!(far[0].load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn what_is_not_as_it_is_on_the_socket_does_not_pass_it_by() {
    let bytes = vec![7; 2_000_000];
    let told = transfer(&bytes, true).await;
    let told = told.iter().flat_map(|told| told.iter());
    assert!(told.into_iter().all(|n| n.load(Ordering::Relaxed) == 0));
}

#[tokio::test]
async fn a_pipe_is_held_only_while_bytes_are_in_it() {
    let (mut client, mut near) = sockets().await;
    let (mut far, mut server) = sockets().await;
    let mut direction = Direction {
        large: true,
        ..Direction::default()
    };
    // More than the sockets take.
    let sending = tokio::spawn(async move {
        client.write_all(&vec![1; 30_000_000]).await.unwrap();
        client
    });
    let mut stuck = false;
    while !stuck {
        let copied = futures::poll!(poll_fn(|cx| direction.poll(cx, &mut near, &mut far)));
        assert!(copied.is_pending());
        stuck = direction.pipe.is_some();
        tokio::task::yield_now().await;
    }
    let receiving = tokio::spawn(async move {
        server.read_exact(&mut vec![0; 30_000_000]).await.unwrap();
        server
    });
    while !receiving.is_finished() {
        let copied = futures::poll!(poll_fn(|cx| direction.poll(cx, &mut near, &mut far)));
        assert!(copied.is_pending());
        tokio::task::yield_now().await;
    }
    assert!(direction.pipe.is_none());
    assert_eq!(direction.copied, 30_000_000);
    drop(sending.await.unwrap());
}

#[tokio::test]
async fn nothing_is_held_once_it_was_taken() {
    let (mut a, mut from) = tokio::io::duplex(1000);
    let (mut to, mut b) = tokio::io::duplex(10);
    let mut direction = Direction::default();
    a.write_all(&[1; 100]).await.unwrap();
    let copied = futures::poll!(poll_fn(|cx| direction.poll(cx, &mut from, &mut to)));
    assert!(copied.is_pending());
    assert_eq!(direction.held.len(), 90);
    let mut received = [0; 100];
    for _ in 0..10 {
        b.read_exact(&mut received[..10]).await.unwrap();
        let copied = futures::poll!(poll_fn(|cx| direction.poll(cx, &mut from, &mut to)));
        assert!(copied.is_pending());
    }
    assert_eq!(direction.held.capacity(), 0);
    assert_eq!(direction.copied, 100);
}
