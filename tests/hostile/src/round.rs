//! One attack, or several at once, from beginning to end; and the restart with all of them there.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow};
use serde_json::Value;

use crate::attack::{Attack, Expect, Scene};
use crate::attacker::Refused;
use crate::ground::Ground;
use crate::honest::{self, Service};
use crate::probe::Readings;
use crate::report::{Row, progress};

/// How long the honest tenant's slowest change may take.
const CHANGE: Duration = Duration::from_secs(10);

/// After how long he must be served again when the operator has started.
const RESTART: Duration = Duration::from_secs(30);

/// How long is waited for conditions, beside the time that an attack lasts.
const CONDITIONS: Duration = Duration::from_secs(10);

/// How long an operator may take to get well again when an attack is over.
const RECOVERY: Duration = Duration::from_secs(20);

/// How long one may take that is new.
const START: Duration = Duration::from_secs(120);

/// What a round is judged by.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// The most memory, in MiB.
    pub memory: f64,
    /// For how long each attack lasts, where that is not as its line says.
    pub seconds: Option<u64>,
}

/// What an attack's objects were told.
#[derive(Debug, Default)]
struct Told {
    /// How many must say something, and how many do.
    wanted: usize,
    found: usize,
    /// The first that said it, for a person.
    first: Option<String>,
    /// The first that did not, and what it says.
    missing: Option<String>,
}

/// Makes these attacks at once, judges how everybody fared, and tidies up.
pub async fn attack(ground: &mut Ground, attacks: &[&Attack], bounds: Bounds) -> Result<Vec<Row>> {
    ground.begin();
    let cpu = ground.probe.as_ref().map_or(0.0, |probe| probe.cpu());
    let begun = Instant::now();
    let (objects, refused) = write(ground, attacks).await?;
    press(ground, attacks, &objects, bounds).await?;
    let mut told = Vec::new();
    for attack in attacks {
        told.push(told_in_time(ground, attack, &objects[attack.name], &refused).await?);
    }
    let took = begun.elapsed();
    let probe = ground.probe.as_ref().context("no operator runs")?;
    let (readings, service, cpu) = (probe.readings(), ground.honest.service(), probe.cpu() - cpu);
    let mut faults = faults(&readings, service, bounds.memory);
    faults.extend(caught(ground).await?);
    let mut rows: Vec<Row> = attacks
        .iter()
        .zip(told)
        .map(|(attack, told)| {
            let (says, missing) = told.summary();
            Row {
                name: attack.name.to_owned(),
                says,
                faults: missing.into_iter().collect(),
                ..Row::of(&readings, service, took, cpu)
            }
        })
        .collect();
    // What befell the operator is told once, where several attacked together.
    rows[0].faults.splice(0..0, faults);
    if readings.died.is_some() {
        rows[0].faults.push(format!("the end of its log:\n{}", ground.log_end(4)));
    }
    Ok(rows)
}

/// Removes what the attacker wrote, and waits until the operator is well.
pub async fn tidy(ground: &mut Ground, bounds: Bounds) -> Result<()> {
    let died = ground.probe.as_ref().is_none_or(|probe| probe.readings().died.is_some());
    if died {
        ground.kill_operator();
    }
    ground.attacker.clear().await?;
    if !died && ground.honest.until_served(RECOVERY).await.is_ok() && is_light(ground, bounds).await {
        return Ok(());
    }
    // What one attack did is not held against the next.
    progress("  the operator is started anew");
    ground.kill_operator();
    ground.start_operator().await?;
    ground.honest.until_served(START).await.context("after a restart, with nothing of the attacker's left")?;
    Ok(())
}

/// Whether the operator has given back what it took.
async fn is_light(ground: &Ground, bounds: Bounds) -> bool {
    ground.begin();
    tokio::time::sleep(Duration::from_millis(200)).await;
    ground.probe.as_ref().is_some_and(|probe| probe.readings().peak_mib < bounds.memory / 2.0)
}

/// The operator is killed, all attacks' objects are there, and it comes up again.
pub async fn restart(ground: &mut Ground, attacks: &[&Attack], bounds: Bounds) -> Result<Row> {
    ground.kill_operator();
    let (_, _) = write(ground, attacks).await?;
    ground.begin();
    let begun = Instant::now();
    ground.start_operator().await?;
    let served = ground.honest.until_served(START).await;
    let took = begun.elapsed();
    let probe = ground.probe.as_ref().context("no operator runs")?;
    let readings = probe.readings();
    // What he waited for while nobody ran is not held against who comes up, nor that the Lease was another's.
    let mut faults = faults(&readings, Service::default(), bounds.memory);
    faults.retain(|fault| !fault.contains("honest") && !fault.contains("Lease"));
    faults.extend(caught(ground).await?);
    match served {
        Ok(_) if took <= RESTART => {}
        Ok(_) => faults.push(format!("the honest tenant was served after {} s", took.as_secs())),
        Err(error) => faults.push(format!("the honest tenant is not served: {error:#}")),
    }
    if readings.died.is_some() {
        faults.push(format!("the end of its log:\n{}", ground.log_end(4)));
    }
    let service = Service { slowest: took, ..ground.honest.service() };
    let says = format!("served after {:.1} s", took.as_secs_f64());
    Ok(Row { name: "restart with all".to_owned(), says, faults, ..Row::of(&readings, service, took, probe.cpu()) })
}

/// The objects of each attack.
type Objects = BTreeMap<&'static str, Vec<Value>>;

async fn write(ground: &Ground, attacks: &[&Attack]) -> Result<(Objects, Refused)> {
    let (mut all, mut refused) = (Objects::new(), Refused::new());
    for attack in attacks {
        let objects = (attack.objects)(&Scene { attack: attack.name, server: &ground.server });
        refused.extend(ground.attacker.create(&objects).await.with_context(|| attack.name.to_owned())?);
        all.insert(attack.name, objects);
    }
    Ok((all, refused))
}

/// Attacks for as long as the longest lasts, or until the operator is dead.
async fn press(ground: &Ground, attacks: &[&Attack], objects: &Objects, bounds: Bounds) -> Result<()> {
    let longest = attacks.iter().map(|attack| attack.seconds).max().unwrap_or_default();
    let time = Duration::from_secs(bounds.seconds.unwrap_or(longest));
    let pressing = attacks.iter().map(|attack| ground.attacker.press(attack, &objects[attack.name], time));
    tokio::select! {
        done = futures::future::try_join_all(pressing) => done.map(drop),
        () = until_dead(ground) => Ok(()),
    }
}

async fn until_dead(ground: &Ground) {
    while ground.probe.as_ref().is_some_and(|probe| probe.readings().died.is_none()) {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Looks at conditions until they say what is expected, or time is over.
async fn told_in_time(ground: &Ground, attack: &Attack, objects: &[Value], refused: &Refused) -> Result<Told> {
    let begun = Instant::now();
    loop {
        let told = told(ground, attack, objects, refused).await?;
        let died = ground.probe.as_ref().is_none_or(|probe| probe.readings().died.is_some());
        // Its own time counts, where it was given less.
        if told.found >= told.wanted || died || begun.elapsed() > CONDITIONS + Duration::from_secs(attack.seconds) {
            return Ok(told);
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

async fn told(ground: &Ground, attack: &Attack, objects: &[Value], refused: &Refused) -> Result<Told> {
    let (words, each) = match attack.expect {
        Expect::Nothing => return Ok(Told::default()),
        Expect::Restarts(most) => return restarted(ground, attack, most).await,
        Expect::One(words) => (words, false),
        Expect::Each(words) => (words, true),
    };
    let has = |kind: &str| objects.iter().any(|object| object["kind"] == kind);
    let kind = ["ExternalSecret", "PushSecret"].into_iter().find(|kind| has(kind)).unwrap_or("SecretStore");
    let mut says: BTreeMap<String, String> = BTreeMap::new();
    for object in ground.attacker.list(kind).await? {
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        if attack.owns(name) {
            says.insert(name.to_owned(), condition(&object));
        }
    }
    let own = objects.iter().filter(|object| object["kind"] == kind);
    let own: Vec<&str> = own.filter_map(|object| object["metadata"]["name"].as_str()).collect();
    let mut told = Told { wanted: if each { own.len() } else { 1 }, ..Told::default() };
    for name in own {
        let text = match refused.get(name) {
            Some(why) => format!("the API server: {why}"),
            None => says.get(name).cloned().unwrap_or_default(),
        };
        if words.iter().any(|word| text.contains(word)) {
            told.found += 1;
            told.first.get_or_insert(text);
        } else {
            told.missing.get_or_insert_with(|| format!("{name} says {text:?}"));
        }
    }
    Ok(told)
}

/// Whether so many of his Deployments were restarted.
async fn restarted(ground: &Ground, attack: &Attack, wanted: usize) -> Result<Told> {
    let all = ground.attacker.list("Deployment").await?;
    let own = all.iter().filter(|workload| attack.owns(workload["metadata"]["name"].as_str().unwrap_or_default()));
    let count = own.filter(|workload| workload.pointer(honest::RESTARTED_FOR).is_some()).count();
    let said = format!("{count} workloads restart, of {wanted}");
    let told = Told { wanted: 1, ..Told::default() };
    Ok(if count == wanted {
        Told { found: 1, first: Some(said), ..told }
    } else {
        Told { missing: Some(said), ..told }
    })
}

/// Reason and message of the condition Ready.
fn condition(object: &Value) -> String {
    let conditions = object["status"]["conditions"].as_array();
    let ready = conditions.into_iter().flatten().find(|condition| condition["type"] == "Ready");
    ready.map_or_else(String::new, |ready| {
        let text = |field: &str| ready[field].as_str().unwrap_or_default();
        format!("{}: {}", text("reason"), text("message"))
    })
}

impl Told {
    /// What was said, for the table, and what is amiss.
    fn summary(self) -> (String, Option<String>) {
        let Self { wanted, found, first, missing } = self;
        let said = first.map(|text| shorten(&text, 160)).unwrap_or_default();
        match (found >= wanted, wanted) {
            (true, _) => (said, None),
            (false, 1) => (said, Some(format!("it is not told: {}", shorten(&missing.unwrap_or_default(), 400)))),
            (false, _) => {
                let missing = shorten(&missing.unwrap_or_default(), 400);
                (said, Some(format!("only {found} of {wanted} are told: {missing}")))
            }
        }
    }
}

/// Begin and end of a text.
fn shorten(text: &str, most: usize) -> String {
    let text: Vec<char> = text.chars().filter(|letter| !letter.is_control()).collect();
    if text.len() <= most {
        return text.into_iter().collect();
    }
    let (head, tail) = (&text[..most / 2], &text[text.len() - most / 2..]);
    head.iter().chain(&[' ', '.', '.', '.', ' ']).chain(tail).collect()
}

/// What must not have been, of operator and service.
fn faults(readings: &Readings, service: Service, memory: f64) -> Vec<String> {
    let mut faults = Vec::new();
    let mut unless = |holds: bool, fault: String| {
        if !holds {
            faults.push(fault);
        }
    };
    if let Some(died) = &readings.died {
        unless(false, format!("the operator is dead: {died}"));
    }
    unless(readings.peak_mib <= memory, format!("{:.0} MiB of memory, of {memory:.0}", readings.peak_mib));
    let slowest = service.slowest;
    unless(slowest <= CHANGE, format!("a change of the honest tenant took {:.1} s", slowest.as_secs_f64()));
    let late = service.restart;
    unless(late <= CHANGE, format!("a restart of the honest tenant's was {:.1} s late", late.as_secs_f64()));
    unless(readings.health_failures == 0, format!("health did not answer {} times", readings.health_failures));
    readings.lease_faults.iter().for_each(|fault| unless(false, format!("the Lease: {fault}")));
    faults
}

/// What of the honest tenant, or of the operator, came into the attacker's hands.
async fn caught(ground: &Ground) -> Result<Vec<String>> {
    let mut caught: Vec<String> =
        ground.server.caught().into_iter().map(|name| format!("the attacker's store was sent {name}")).collect();
    for secret in ground.attacker.list("Secret").await.map_err(|error| anyhow!("his Secrets: {error:#}"))? {
        let values = secret["data"].as_object().into_iter().flatten().filter_map(|(_, value)| value.as_str());
        let theirs = [honest::GENERATED, honest::TOKEN].map(encoded);
        if values.into_iter().any(|value| theirs.iter().any(|theirs| value.contains(theirs))) {
            caught.push(format!("{} holds a value of the honest tenant", secret["metadata"]["name"]));
        }
    }
    Ok(caught)
}

fn encoded(text: &str) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD_NO_PAD.encode(text).chars().take(text.len()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_hold_is_named() {
        let well = Readings::default();
        assert!(faults(&well, Service::default(), 256.0).is_empty());
        let ill = Readings {
            died: Some("it ended".into()),
            peak_mib: 300.0,
            health_failures: 2,
            lease_faults: vec!["it changed hands".into()],
            ..Readings::default()
        };
        let slow = Service { slowest: Duration::from_secs(11), arrived: 1, restart: Duration::from_secs(11) };
        assert_eq!(faults(&ill, slow, 256.0).len(), 6);
    }

    #[test]
    fn each_must_say_it_where_each_is_asked() {
        let told = Told { wanted: 3, found: 2, first: Some("a".into()), missing: Some("b".into()) };
        assert_eq!(told.summary(), ("a".into(), Some("only 2 of 3 are told: b".into())));
        assert_eq!(Told::default().summary(), (String::new(), None));
    }
}
