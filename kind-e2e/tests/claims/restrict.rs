//! An operator denies a client: it is refused at once, and what it has open ends.

use crate::steps::SHOP;
use crate::suite::{Claim, claim};
use crate::worlds::World;

pub const CLAIMS: &[Claim] = &[claim(
    "restrict_denied_clients_lose_what_they_have_open",
    denied_clients,
)];

fn denied_clients(world: &World) {
    world.shop();
    let url = "http://web.shop.svc.cluster.local/";
    let answer = world.ask_until("west", SHOP, url, |answer| answer.is_from("west"));
    let client = answer.answer["client_id"].as_str().unwrap().to_owned();
    let slow = format!("{url}delay/8000");
    let mut load = world.load("west", SHOP, &slow, 2);
    load.until_answered_by(&["west"], 3);
    load.until_cut(|| {
        world.apply(
            "west",
            &format!(
                "
apiVersion: federation.mesh.io/v1alpha1
kind: ClientRestriction
metadata: {{name: compromised}}
spec:
  identities: [{client}]
  deny: true
"
            ),
        );
    });
    drop(load);
    world.ask_until("west", SHOP, url, |answer| answer.error.is_some());
    world.sh("kubectl --context=west delete clientrestriction compromised");
    world.ask_until("west", SHOP, url, |answer| answer.is_from("west"));
    // What says nothing is no restriction.
    let nothing = "
apiVersion: federation.mesh.io/v1alpha1
kind: ClientRestriction
metadata: {name: nothing}
spec: {identities: ['*']}
";
    world
        .try_sh_with("kubectl --context=west apply -f -", nothing)
        .fails_with(&["spec"]);
}
