//! Listening to the control plane.

use std::time::Duration;

use mesh_federation::{WatchDirectives, WatchDirectivesRequest};
use tokio::sync::Notify;
use tonic::{Code, transport::Channel};

use super::Directives;
use crate::{
    config::Policy,
    control::{Event, follow},
};

/// Until a control plane that lacks the service is asked again: it may have been upgraded.
pub(super) const ABSENT: Duration = Duration::from_secs(10 * 60);

impl Directives {
    /// Follows the control plane behind `channel`, for ever.
    pub async fn follow(&self, channel: Channel, config: &Policy) {
        let absent = Notify::new();
        loop {
            let open = || {
                let question = WatchDirectivesRequest {};
                mesh_federation::watch::<WatchDirectives>(channel.clone(), question)
            };
            let listening =
                follow(
                    "directives",
                    config.limits,
                    config.backoff,
                    open,
                    |event| match event {
                        Event::Message { message, .. } => self.told(&message),
                        Event::Refused(status) if status.code() == Code::Unimplemented => {
                            absent.notify_one();
                        }
                        // Such as by a proxy on the way: as good as silence.
                        Event::Refused(_) => {}
                    },
                );
            tokio::select! {
                () = listening => {}
                () = absent.notified() => {}
            }
            tracing::debug!("the control plane has no directives; asking again in a while");
            self.absent();
            tokio::time::sleep(ABSENT).await;
        }
    }
}
