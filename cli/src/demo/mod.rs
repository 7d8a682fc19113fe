//! `mesh demo`: the main job, end to end, on this machine.
//!
//! Three clusters whose every daemon is a process of its own: linked, a service exported by label,
//! called across clusters over mTLS, and failed over when parts of it are killed. Exits 0 only if
//! every step held.

mod apply;
mod deaths;
mod faults;
mod interrupt;
mod intruder;
mod load;
mod measure;
mod report;
mod security;
mod world;

use self::{
    faults::Victim,
    interrupt::Interrupt,
    load::Load,
    measure::{Change, Record, summarise},
    report::Report,
    world::World,
};
use crate::{
    output::{self, DataFormat},
    supervise::{Deaths, Supervisor},
};
use anyhow::bail;
use mesh_contract::ports;
use mesh_daemon::Shutdown;
use std::time::{Duration, Instant};

/// Requests per second.
const RATE: u32 = 300;
const TARGET: &str = "http://web-federated.default.svc.cluster.local/";
/// How long the load runs before, and after, each change.
const STEADY: Duration = Duration::from_secs(3);
/// How long a preferred cluster may take to answer again.
const RETURN_TIMEOUT: Duration = Duration::from_secs(15);

/// How long a dead API server or node agent stays dead.
const RESPAWN_DELAY: Duration = Duration::from_secs(1);

const WEB: Victim = Victim {
    cluster: "west",
    namespace: "default",
    selector: "app=web",
};
const GATEWAY: Victim = Victim {
    cluster: "east",
    namespace: "linkerd-multicluster",
    selector: "app=linkerd-gateway",
};

/// Flags of `mesh demo`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Leave the clusters running until Ctrl-C, and print how to reach them
    #[arg(long)]
    keep: bool,

    /// End with one JSON line on standard output; progress goes to standard error
    #[arg(long)]
    json: bool,
}

/// Runs the demo, and stops every process however it ends.
pub(crate) async fn run(args: Args, _: Shutdown) -> anyhow::Result<()> {
    let mut interrupt = Interrupt::listen()?;
    let (supervisor, mut deaths) = Supervisor::start()?;
    let started = Instant::now();
    let say = move |line: &str| {
        output::note(&format!(
            "[{:5.1}s] {line}",
            started.elapsed().as_secs_f64()
        ));
    };
    let logs = supervisor.logs();
    let outcome = tokio::select! {
        outcome = drive(&args, &supervisor, &say) => outcome.map_err(Some),
        error = tend(&supervisor, &mut deaths, &say) => Err(Some(error)),
        () = interrupt.received() => Err(None),
    };
    let reported = outcome.is_ok();
    let outcome = match outcome {
        Ok((world, report)) if args.keep => {
            print_how_to_reach(&world)?;
            tokio::select! {
                error = tend(&supervisor, &mut deaths, &say) => Err(error),
                () = interrupt.received() => Ok(report),
            }
        }
        Ok((_, report)) => Ok(report),
        Err(Some(error)) => Err(error),
        Err(None) => Err(anyhow::anyhow!("interrupted")),
    };
    supervisor.stop().await;
    match outcome {
        Ok(report) if report.ok && args.keep => {
            // Whoever kept it tried things whose traces are of use.
            say(&format!("stopped; logs are in {}", logs.display()));
            Ok(())
        }
        Ok(report) if report.ok => {
            supervisor.remove_files();
            Ok(())
        }
        Ok(_) => bail!("not every step held; logs are in {}", logs.display()),
        Err(error) => {
            if args.json && !reported {
                output::text(&format!("{}\n", Report::failed(&error).json()?))?;
            }
            Err(error.context(format!("logs are in {}", logs.display())))
        }
    }
}

async fn drive(
    args: &Args,
    supervisor: &Supervisor,
    say: &impl Fn(&str),
) -> anyhow::Result<(World, Report)> {
    let world = World::start(supervisor, say).await?;
    world.link(say).await?;
    for (name, ip) in world.imported().await? {
        say(&format!("west has the Service {name} ({ip})"));
    }
    let gateways = world.gateways().await?;
    if !args.json {
        crate::multicluster::gateways::print(&gateways, DataFormat::Table)?;
    }
    let mut report = Report::default();
    phases(&world, &mut report, say).await?;
    say("trying what must not be possible");
    security::run(&world, &mut report).await;
    report.conclude();
    if args.json {
        output::text(&format!("{}\n", report.json()?))?;
    } else {
        output::text(&format!("\n{}\n", report.text()))?;
    }
    Ok((world, report))
}

/// Sends the load and breaks things under it.
async fn phases(world: &World, report: &mut Report, say: &impl Fn(&str)) -> anyhow::Result<()> {
    let mut view = View {
        load: Load::new(world.client_ip),
        next: 0,
        say,
    };
    view.load.start(TARGET, RATE).await?;
    say(&format!(
        "sending {RATE} GET/s to {TARGET} from west's client"
    ));
    view.until_answered_by("west").await?;

    let records = view.watch(STEADY).await?;
    report
        .phases
        .push(summarise("steady", &Change::None, &records));

    for (name, victim, then) in [
        ("west's web killed", WEB, "east"),
        ("east's gateway killed", GATEWAY, "north"),
    ] {
        let at_ms = faults::kill(world, victim).await?;
        say(&format!("{name}: expecting {then}"));
        let records = view.watch(STEADY).await?;
        let cluster = victim.cluster.to_owned();
        let phase = summarise(name, &Change::Fault { cluster, at_ms }, &records);
        let answered = phase.answered_by.contains_key(then);
        report.check(
            &format!("{name}: {then} answers"),
            expect(answered, "it did not"),
        );
        report.phases.push(phase);
    }
    for (name, victim) in [("east's gateway back", GATEWAY), ("west's web back", WEB)] {
        let at_ms = faults::heal(world, victim).await?;
        say(&format!("{name}: expecting {}", victim.cluster));
        let mut records = view.until_answered_by(victim.cluster).await?;
        records.extend(view.watch(STEADY).await?);
        let cluster = victim.cluster.to_owned();
        let phase = summarise(name, &Change::Recovery { cluster, at_ms }, &records);
        let returned = phase.returned_ms.is_some();
        let claim = format!("{name}: {} answers again", victim.cluster);
        report.check(&claim, expect(returned, "it did not"));
        report.phases.push(phase);
    }
    view.load.start(TARGET, 0).await
}

fn expect(held: bool, otherwise: &'static str) -> anyhow::Result<()> {
    if held { Ok(()) } else { bail!(otherwise) }
}

/// The load as it is seen while it runs.
struct View<'a, S> {
    load: Load,
    /// The first record not read yet.
    next: u64,
    say: &'a S,
}

impl<S: Fn(&str)> View<'_, S> {
    /// Collects what ends within `time`, showing who answers every second.
    async fn watch(&mut self, time: Duration) -> anyhow::Result<Vec<Record>> {
        let deadline = Instant::now() + time;
        let mut all = Vec::new();
        while Instant::now() < deadline {
            tokio::time::sleep(Duration::from_secs(1)).await;
            let records = self.read().await?;
            (self.say)(&format!("  {}", load::live(&records)));
            all.extend(records);
        }
        Ok(all)
    }

    /// Collects until `cluster` answers.
    async fn until_answered_by(&mut self, cluster: &str) -> anyhow::Result<Vec<Record>> {
        let deadline = Instant::now() + RETURN_TIMEOUT;
        let mut all = Vec::new();
        loop {
            let records = self.read().await?;
            let answered = records
                .iter()
                .any(|r| r.cluster.as_deref() == Some(cluster));
            all.extend(records);
            if answered || Instant::now() >= deadline {
                return Ok(all);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn read(&mut self) -> anyhow::Result<Vec<Record>> {
        let records = self.load.records(self.next).await?;
        if let Some(last) = records.iter().map(|record| record.seq).max() {
            self.next = last + 1;
        }
        Ok(records)
    }
}

/// Starts daemons that died again, as a machine would; an error once one dies too often.
async fn tend(supervisor: &Supervisor, deaths: &mut Deaths, say: &impl Fn(&str)) -> anyhow::Error {
    let mut known = deaths::Deaths::default();
    loop {
        let died = deaths.next().await;
        if let Some(times) = known.note(&died.name, Instant::now()) {
            return anyhow::anyhow!(
                "{} ended {times} times in a row, last: {}; its log says why",
                died.name,
                died.status
            );
        }
        say(&format!(
            "{} ended ({}); starting it again",
            died.name, died.status
        ));
        tokio::time::sleep(RESPAWN_DELAY).await;
        if let Err(error) = supervisor.respawn(&died.name) {
            return error;
        }
    }
}

fn print_how_to_reach(world: &World) -> anyhow::Result<()> {
    output::note("\nThe clusters keep running until Ctrl-C. Try:");
    for name in world::CLUSTERS {
        let path = world.kubeconfig(name)?.display();
        output::note(&format!(
            "  kubectl --kubeconfig {path} --context {name} get pods,services -A"
        ));
    }
    for host in ["web", "web-east", "web-federated"] {
        output::note(&format!(
            "  curl -x {}:{} http://{host}.default.svc.cluster.local",
            world.client_ip,
            ports::OUTBOUND
        ));
    }
    Ok(())
}
