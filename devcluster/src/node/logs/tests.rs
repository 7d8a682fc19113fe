//! What a reader of logs gets.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::*;

async fn read(log: &Path, options: Options) -> String {
    let (tx, mut rx) = mpsc::channel(4);
    let task = tokio::spawn(stream(log.to_owned(), options, || false, tx));
    let mut all = Vec::new();
    while let Some(chunk) = rx.recv().await {
        all.extend_from_slice(&chunk.unwrap());
    }
    task.await.unwrap();
    String::from_utf8(all).unwrap()
}

fn log_with(text: &str) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("1.log");
    fs::write(&log, text).unwrap();
    (dir, log)
}

#[tokio::test]
async fn tail_counts_lines_with_or_without_a_last_newline() {
    for text in ["one\ntwo\nthree\n", "one\ntwo\nthree"] {
        let (_dir, log) = log_with(text);
        let last = &text[4..];
        let table = [(0, ""), (2, last), (3, text), (9, text)];
        for (tail, expected) in table {
            let options = Options {
                tail: Some(tail),
                ..Default::default()
            };
            assert_eq!(read(&log, options).await, expected, "{tail}");
        }
        assert_eq!(read(&log, Options::default()).await, text);
        let options = Options {
            limit: Some(5),
            ..Default::default()
        };
        assert_eq!(read(&log, options).await, "one\nt");
    }
}

#[tokio::test]
async fn lines_have_the_time_of_the_sample_that_saw_them() {
    let (_dir, log) = log_with("one\ntwo\nthree\n");
    fs::write(index_path(&log), "1000 4\n2000 8\n3000 14\n").unwrap();
    let options = Options {
        timestamps: true,
        tail: Some(2),
        ..Default::default()
    };
    assert_eq!(
        read(&log, options).await,
        "1970-01-01T00:00:02.000000000Z two\n1970-01-01T00:00:03.000000000Z three\n"
    );
    let options = Options {
        since: Some(1500),
        ..Default::default()
    };
    assert_eq!(read(&log, options).await, "two\nthree\n");
    let options = Options {
        since: Some(9000),
        ..Default::default()
    };
    assert_eq!(read(&log, options).await, "");
}

#[tokio::test]
async fn following_ends_with_the_container_and_misses_nothing() {
    let (_dir, log) = log_with("one\n");
    let alive = Arc::new(AtomicBool::new(true));
    let (tx, mut rx) = mpsc::channel(4);
    let still = alive.clone();
    let options = Options {
        follow: true,
        ..Default::default()
    };
    let task = tokio::spawn(stream(
        log.clone(),
        options,
        move || still.load(Ordering::SeqCst),
        tx,
    ));
    assert_eq!(rx.recv().await.unwrap().unwrap(), "one\n");
    let mut file = OpenOptions::new().append(true).open(&log).unwrap();
    writeln!(file, "two").unwrap();
    assert_eq!(rx.recv().await.unwrap().unwrap(), "two\n");
    writeln!(file, "three").unwrap();
    alive.store(false, Ordering::SeqCst);
    assert_eq!(rx.recv().await.unwrap().unwrap(), "three\n");
    assert!(rx.recv().await.is_none());
    task.await.unwrap();
}

#[tokio::test]
async fn a_log_past_its_bound_loses_its_oldest_whole_lines() {
    let line = format!("{}\n", "x".repeat(99));
    let (_dir, log) = log_with(&line.repeat(1000));
    let mut keeper = Keeper {
        log: log.clone(),
        sampled: 0,
        start: 0,
        bound: 32 << 10,
    };
    keeper.tick().unwrap();
    let text = read(&log, Options::default()).await;
    assert!(text.len() < 33 << 10, "{}", text.len());
    assert_eq!(text, line.repeat(text.len() / 100));
    assert_eq!(read_index(&log).len(), 1.min(text.len()));
}
