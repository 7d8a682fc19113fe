//! `pods/<name>/eviction`: deletes a pod as a drain does, if its PodDisruptionBudget can spare it.

use super::super::reply::Reply;
use super::super::request::WriteParams;
use super::sub::{given, reviewed, success};
use super::{Call, delete};
use crate::controllers::disruption_allowed;
use crate::schema::json::{at, name, namespace, text};
use crate::schema::selector;
use crate::status::{ApiError, Cause};
use crate::store::{DeleteOptions, ResourceKey, now};
use http::StatusCode;
use serde_json::{Value, json};
use std::sync::Arc;

/// When a client that came too early should come back.
const SOON: u32 = 10;

pub(super) async fn evict(call: &Call) -> Result<Reply, ApiError> {
    let eviction = given(call, "Eviction")?;
    let mut params = WriteParams::read(&call.query, "CreateOptions")?;
    let mut options = delete::read_options(at(&eviction, &["deleteOptions"]))?;
    params.dry_run |= options.dry_run;
    options.dry_run = params.dry_run;
    let kind = ("policy", "v1", "Eviction");
    let (_, warnings) = reviewed(call, kind, &params, eviction).await?;
    let store = &call.api.store;
    store.exclusive(|| {
        let pod = call.object()?;
        if !spared(&pod) {
            spend(call, &pod, &mut options)?;
        }
        store.delete(&call.key(), call.namespace(), call.name(), &options)
    })?;
    Ok(success(StatusCode::CREATED).warn(warnings))
}

/// Pods that serve nobody, so that no budget is about them.
fn spared(pod: &Value) -> bool {
    let over = ["Succeeded", "Failed", "Pending", ""];
    over.contains(&text(pod, &["status", "phase"]))
        || !at(pod, &["metadata", "deletionTimestamp"]).is_null()
}

fn ready(pod: &Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array();
    let mut conditions = conditions.into_iter().flatten();
    conditions.any(|c| c["type"] == "Ready" && c["status"] == "True")
}

fn budgets() -> ResourceKey {
    ResourceKey::new("policy", "poddisruptionbudgets")
}

/// Takes the pod out of its budget, or refuses.
fn spend(call: &Call, pod: &Value, options: &mut DeleteOptions) -> Result<(), ApiError> {
    let (all, _) = call.api.store.list(&budgets(), Some(namespace(pod)));
    let labels = at(pod, &["metadata", "labels"]);
    let about = |pdb: &&Arc<Value>| {
        let wanted = at(pdb, &["spec", "selector"]);
        !wanted.is_null() && selector::matches(wanted, labels)
    };
    let found: Vec<&Arc<Value>> = all.iter().filter(about).collect();
    let budget = match found.as_slice() {
        [] => return Ok(()),
        [one] => *one,
        _ => {
            let message = "This pod has more than one PodDisruptionBudget, which the eviction \
                           subresource does not support.";
            return Err(ApiError::new(500, "", message));
        }
    };
    let count = |field: &str| at(budget, &["status", field]).as_i64().unwrap_or_default();
    let (has, needs) = (count("currentHealthy"), count("desiredHealthy"));
    let always = text(budget, &["spec", "unhealthyPodEvictionPolicy"]) == "AlwaysAllow";
    if !ready(pod) && (always || (has >= needs && needs > 0)) {
        let unchanged = text(pod, &["metadata", "resourceVersion"]).to_owned();
        options.resource_version.get_or_insert(unchanged);
        return Ok(());
    }
    let generation = at(budget, &["metadata", "generation"]).as_i64();
    if count("observedGeneration") < generation.unwrap_or_default() {
        let why = format!(
            "The disruption budget {} is still being processed by the server.",
            name(budget)
        );
        return Err(refused(why, Some(SOON)));
    }
    if count("disruptionsAllowed") <= 0 {
        return Err(refused(no_budget(budget, has, needs), None));
    }
    if options.dry_run {
        return Ok(());
    }
    let spend = |old: &Value| {
        let mut new = old.clone();
        new["status"]["disruptionsAllowed"] = json!(count("disruptionsAllowed") - 1);
        new["status"]["disruptedPods"][name(pod)] = json!(now());
        disruption_allowed(&mut new);
        Ok(new)
    };
    let ns = Some(namespace(pod));
    call.api.store.update(&budgets(), ns, name(budget), spend)?;
    Ok(())
}

fn no_budget(budget: &Value, has: i64, needs: i64) -> String {
    let name = name(budget);
    if has <= needs {
        return format!(
            "The disruption budget {name} needs {needs} healthy pods and has {has} currently"
        );
    }
    let conditions = budget["status"]["conditions"].as_array();
    let condition = conditions.and_then(|all| all.iter().find(|c| c["status"] == "False"));
    match condition.map(|c| (text(c, &["reason"]), text(c, &["message"]))) {
        Some((reason, message)) if !message.is_empty() => format!(
            "The disruption budget {name} does not allow evicting pods currently ({reason}): \
             {message}"
        ),
        _ => format!("The disruption budget {name} does not allow evicting pods currently"),
    }
}

fn refused(why: String, again: Option<u32>) -> ApiError {
    let message = "Cannot evict pod as it would violate the pod's disruption budget.";
    let cause = Cause {
        reason: "DisruptionBudget",
        message: why,
        field: String::new(),
    };
    ApiError::too_many_requests(message, cause, again)
}
