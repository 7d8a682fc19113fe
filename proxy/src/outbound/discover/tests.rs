//! When a name counts as withdrawn.

use super::*;

const SETTLED: Duration = Duration::from_secs(2);

fn discovered() -> (watch::Sender<State>, Discovered) {
    let (tx, state) = watch::channel(State::Asking);
    let target = Target::Name("web.default.svc.cluster.local".into(), 80);
    let discovered = Discovered(Arc::new(Entry {
        name: target.describe().into(),
        target,
        asked: Instant::now(),
        state,
        used: Mutex::new(Instant::now()),
        budget: Mutex::default(),
        task: tokio::spawn(std::future::pending::<()>()).abort_handle(),
    }));
    (tx, discovered)
}

#[tokio::test(start_paused = true)]
async fn a_name_is_withdrawn_once_it_has_been_denied_for_long_enough() {
    let (state, discovered) = discovered();
    let mut withdrawn = Box::pin(discovered.withdrawn(SETTLED));
    // Asking is not knowing.
    let waited = tokio::time::timeout(10 * SETTLED, &mut withdrawn).await;
    assert!(waited.is_err());
    state.send_replace(State::NotFound);
    let denied = Instant::now();
    let waited = tokio::time::timeout(10 * SETTLED, withdrawn).await;
    assert!(waited.is_ok());
    assert_eq!(denied.elapsed(), SETTLED);
}

#[tokio::test(start_paused = true)]
async fn a_denial_that_is_taken_back_in_time_withdraws_nothing() {
    let (state, discovered) = discovered();
    let mut withdrawn = Box::pin(discovered.withdrawn(SETTLED));
    for _ in 0..3 {
        state.send_replace(State::NotFound);
        let waited = tokio::time::timeout(SETTLED / 2, &mut withdrawn).await;
        assert!(waited.is_err());
        state.send_replace(State::Asking);
        let waited = tokio::time::timeout(SETTLED, &mut withdrawn).await;
        assert!(waited.is_err());
    }
    // And a process that ends withdraws nothing.
    drop(state);
    let waited = tokio::time::timeout(10 * SETTLED, withdrawn).await;
    assert!(waited.is_err());
}
