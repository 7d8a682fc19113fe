//! Admission webhooks: others who have a say in what is written.
//!
//! A verb says what is asked ([`Ask`]), opens a [`Gate`], and shows it the object on its way:
//! first to those that may change it, then, when it is complete and valid, to those that may only
//! refuse it. `rules` decides who is called, `dispatch` in which order and what a failure means,
//! `review` what is said, `client` how. Webhook configurations themselves are shown to nobody, so
//! that a broken webhook can always be removed.
//!
//! ```text
//! body ─ decode ─ defaults ─ Gate::mutate ─ prepare (schema) ─ Gate::validate ─ store
//! ```

mod client;
mod dispatch;
mod review;
mod rules;

#[cfg(test)]
mod tests;

use super::resources::ResourceDef;
use super::verbs::Api;
use crate::auth::User;
use crate::schema::WEBHOOK_GROUP;
use crate::status::ApiError;
use crate::store::ResourceKey;
use rules::Hook;
use serde_json::Value;
use std::sync::Arc;

/// What is done to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operation {
    Create,
    Update,
    Delete,
    Connect,
}

impl Operation {
    fn name(self) -> &'static str {
        match self {
            Self::Create => "CREATE",
            Self::Update => "UPDATE",
            Self::Delete => "DELETE",
            Self::Connect => "CONNECT",
        }
    }
}

/// What is asked of the server, as far as webhooks care.
pub(super) struct Ask {
    pub(super) operation: Operation,
    pub(super) def: Arc<ResourceDef>,
    pub(super) version: String,
    /// Empty: the object itself.
    pub(super) subresource: String,
    /// Group, version and kind of what is shown, where that is not the object itself.
    pub(super) shows: Option<(&'static str, &'static str, &'static str)>,
    /// A Namespace's own name where the request is about one.
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) user: User,
    /// `CreateOptions` and the like; null where there are none.
    pub(super) options: Value,
    pub(super) dry_run: bool,
}

/// An object on its way, as it is and as it was.
pub(super) struct Subject<'a> {
    pub(super) object: Option<Value>,
    pub(super) old: Option<&'a Value>,
}

/// Those who have a say in one request.
pub(super) struct Gate<'a> {
    api: &'a Api,
    ask: Ask,
    mutating: Vec<Hook>,
    validating: Vec<Hook>,
    /// What webhooks want the client to be told.
    warnings: Vec<String>,
}

impl<'a> Gate<'a> {
    /// Who may have a say, going by the rules alone.
    pub(super) fn open(api: &'a Api, ask: Ask) -> Self {
        let exempt = ask.def.group == WEBHOOK_GROUP;
        let hooks = |plural: &str| {
            if exempt {
                return Vec::new();
            }
            let (stored, _) = api
                .store
                .list(&ResourceKey::new(WEBHOOK_GROUP, plural), None);
            let all = stored.iter().flat_map(Hook::of);
            all.filter_map(|hook| hook.concerned(&ask)).collect()
        };
        Self {
            mutating: hooks("mutatingwebhookconfigurations"),
            validating: hooks("validatingwebhookconfigurations"),
            api,
            ask,
            warnings: Vec::new(),
        }
    }

    /// Whether anybody may change the object.
    pub(super) fn changes(&self) -> bool {
        !self.mutating.is_empty()
    }

    /// Whether anybody may refuse the object.
    pub(super) fn judges(&self) -> bool {
        !self.validating.is_empty()
    }

    /// Whether nobody has a say.
    pub(super) fn is_open(&self) -> bool {
        !self.changes() && !self.judges()
    }

    /// Lets webhooks change the object, one after the other.
    pub(super) async fn mutate(&mut self, subject: &mut Subject<'_>) -> Result<(), ApiError> {
        dispatch::mutate(self, subject).await
    }

    /// Lets webhooks refuse the object, all at once.
    pub(super) async fn validate(&mut self, subject: &Subject<'_>) -> Result<(), ApiError> {
        dispatch::validate(self, subject).await
    }

    /// Both, for what is not stored: what came of the object.
    pub(super) async fn review(
        mut self,
        mut subject: Subject<'_>,
    ) -> Result<(Option<Value>, Vec<String>), ApiError> {
        self.mutate(&mut subject).await?;
        self.validate(&subject).await?;
        Ok((subject.object, self.warnings))
    }

    /// What the client is to be told besides the answer.
    pub(super) fn warnings(self) -> Vec<String> {
        self.warnings
    }
}
