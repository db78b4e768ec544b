//! `keyferry explain`: why one object stands as it does, what its keys come from, and what happens next.

use std::io::Write;

use clap::Args;
use jiff::Timestamp;
use keyferry_cluster::client::Turns;
use keyferry_cluster::connection::Connection;
use keyferry_cluster::leader::Lead;
use keyferry_cluster::target::ClusterTargets;
use keyferry_crds::{ExternalSecret, RefreshPolicy, names};
use keyferry_stores::registry;
use keyferry_sync::outcome::Headline;
use keyferry_sync::plan::TargetState;
use keyferry_sync::ports::Outputs as _;
use keyferry_sync::schedule;
use keyferry_sync::settings::Adopt;
use kube::Client;
use serde::Serialize;

use super::gather::{self, MetricsFrom};
use super::hint::did_you_mean;
use super::status::Format;
use super::table::{coloured, has_colours, json, note, plain, table};
use crate::clock;
use crate::report::advice;
use crate::report::checks::{self, Verdict};
use crate::report::origin::{self, Origin};
use crate::report::snapshot::Snapshot;
use crate::report::standing::{self, Standing, ahead, every, span};
use crate::report::users::User;

/// Flags of `keyferry explain`.
#[derive(Args, Debug)]
pub struct Explain {
    /// An ExternalSecret, or another object as push/NAME, store/NAME or clusterstore/NAME
    #[arg(value_name = "[KIND/]NAME")]
    pub name: String,
    /// The way to the cluster.
    #[command(flatten)]
    pub connection: Connection,
    /// Its namespace; without it that of the kubeconfig's context
    #[arg(long, short, value_name = "NAMESPACE")]
    pub namespace: Option<String>,
    /// The controller class of the operator
    #[arg(long, default_value = "default", value_name = "CLASS")]
    pub controller_class: String,
    /// Where tries are known.
    #[command(flatten)]
    pub metrics: MetricsFrom,
    /// How to print
    #[arg(long, short, default_value = "text", value_enum)]
    pub output: Format,
}

/// All that there is to say.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    /// How it stands.
    #[serde(flatten)]
    pub standing: Standing,
    /// What its keys come from.
    pub keys: Vec<Origin>,
    /// What the plan says.
    pub checks: Vec<Verdict>,
    /// What that comes to now.
    pub now: Option<String>,
    /// When it is looked at next, and why then.
    pub next: String,
    /// What whoever reads this can do.
    pub advice: Option<&'static str>,
    /// Who uses its target.
    pub users: Vec<User>,
}

/// The kind that a word stands for.
pub fn kind_of(word: &str) -> Result<&'static str, String> {
    match word.to_lowercase().as_str() {
        "es" | "externalsecret" | "externalsecrets" => Ok("ExternalSecret"),
        "ps" | "push" | "pushsecret" | "pushsecrets" => Ok(names::KIND_PUSH_SECRET),
        "ss" | "store" | "secretstore" | "secretstores" => Ok("SecretStore"),
        "css" | "clusterstore" | "clustersecretstore" | "clustersecretstores" => Ok("ClusterSecretStore"),
        _ => {
            let known = ["externalsecret", "push", "store", "clusterstore"];
            Err(format!("there is no kind {word:?}: use one of {}{}", known.join(", "), did_you_mean(word, known)))
        }
    }
}

/// Reads and prints; the error is for a person.
pub async fn run(args: &Explain, out: &mut dyn Write, err: &mut dyn Write) -> Result<(), String> {
    let (kind, name) = match args.name.split_once('/') {
        Some((kind, name)) => (kind_of(kind)?, name),
        None => ("ExternalSecret", args.name.as_str()),
    };
    let client = args.connection.client().await?;
    let namespace = args.namespace.clone().unwrap_or_else(|| client.default_namespace().to_owned());
    let mut notes = Vec::new();
    let mut snapshot = gather::snapshot(&client, Some(&namespace), &mut notes).await?;
    snapshot.namespaces = gather::namespaces(&client).await;
    snapshot.users = gather::users(&client, Some(&namespace), &mut notes).await.0;
    snapshot.tries = args.metrics.tries(&client, &mut notes).await?;
    let now = clock::now();
    let all = standing::all(&snapshot, now);
    let Some(standing) = all.iter().find(|of| of.kind == kind && of.name == name) else {
        let known = all.iter().filter(|of| of.kind == kind).map(|of| of.name.as_str());
        return Err(format!("there is no {kind} {name:?} in namespace {namespace:?}{}", did_you_mean(name, known)));
    };
    let es = snapshot.external_secrets.iter().flatten().find(|es| es.metadata.name.as_deref() == Some(name));
    let target = match es.filter(|_| kind == "ExternalSecret") {
        Some(es) => state(&client, es, &mut notes).await,
        None => TargetState::Unknown,
    };
    let es = es.filter(|_| kind == "ExternalSecret");
    let whole = explanation(standing.clone(), es, &snapshot, target, &args.controller_class, now);
    let text = match args.output {
        Format::Text => told(&whole, now, has_colours()),
        Format::Json => json(&whole, true)?,
    };
    note(&notes, err);
    out.write_all(text.as_bytes()).map_err(|_| "can't write to standard output".to_owned())
}

/// How the target stands, by the operator's own code. Whoever may not read it does not know.
async fn state(client: &Client, es: &ExternalSecret, notes: &mut Vec<String>) -> TargetState {
    let turns = Turns::new(1, Lead::always());
    let targets =
        ClusterTargets { client: client.clone(), turns, kinds: Default::default(), adopt: Adopt::Any, rotations: None };
    match targets.of(es).observe().await {
        Ok(None) => TargetState::Absent,
        Ok(Some(read)) if read.intact => TargetState::Intact,
        Ok(Some(_)) => TargetState::Drifted,
        Err(failure) => {
            notes.push(format!("the target is not known: {failure}"));
            TargetState::Unknown
        }
    }
}

/// Puts it together. Pure.
pub fn explanation(
    standing: Standing,
    es: Option<&ExternalSecret>,
    snapshot: &Snapshot,
    target: TargetState,
    class: &str,
    now: Timestamp,
) -> Explanation {
    // How the operator is run shows in what it says alone.
    let generic_targets = !standing.message.starts_with(Headline::ManifestKind.as_str());
    let operator = checks::Operator { class, generators: registry::GENERATOR_KINDS.as_slice(), generic_targets };
    let (checks, outcome) = match es {
        Some(es) => {
            let (checks, outcome) = checks::of(es, snapshot, target, operator, now);
            (checks, Some(outcome))
        }
        None => (Vec::new(), None),
    };
    let name = standing.name.clone();
    let uses = |user: &&User| {
        let secret = es.filter(|es| es.target_manifest().is_none()).map(ExternalSecret::target_name);
        es.is_some() && (secret.is_some_and(|secret| !user.uses(secret).is_empty()) || user.mounts.contains(&name))
    };
    Explanation {
        keys: es.map(origin::of).unwrap_or_default(),
        checks,
        now: outcome,
        next: next(&standing, es, now),
        advice: advice::of(&standing),
        users: snapshot.users.iter().filter(uses).cloned().collect(),
        standing,
    }
}

/// What happens next, and when.
fn next(standing: &Standing, es: Option<&ExternalSecret>, now: Timestamp) -> String {
    let interval = es.and_then(schedule::interval).map(every);
    match (standing.status, standing.next_try, standing.next_sync) {
        ("Failed", Some(at), _) => format!("it is tried again {}", ahead(at, now)),
        ("Failed", None, _) if standing.tries.is_some_and(|tries| tries > 0) => {
            "it is tried again when it, or what it depends on, changes".to_owned()
        }
        ("Failed", None, _) => "it is tried again by time, and when it, or what it depends on, changes".to_owned(),
        (_, _, Some(at)) if at <= now => {
            format!("it is refreshed {}; its status is not written each time", interval.unwrap_or_default())
        }
        (_, _, Some(at)) => format!("it is refreshed {} ({})", ahead(at, now), interval.unwrap_or_default()),
        _ => match es.map(|es| &es.spec.refresh_policy) {
            Some(RefreshPolicy::CreatedOnce) => "it was fetched once, and is not fetched again: CreatedOnce".to_owned(),
            Some(_) => "it is refreshed when it changes".to_owned(),
            None => "it is checked by time, and when it, or what it depends on, changes".to_owned(),
        },
    }
}

/// For a person.
pub fn told(of: &Explanation, now: Timestamp, has_colours: bool) -> String {
    let Standing { kind, namespace, name, status, message, reason, since, tries, .. } = &of.standing;
    let since = since.map(|since| format!(" since {}", span(now.duration_since(since)))).unwrap_or_default();
    let named = if namespace.is_empty() { name.clone() } else { format!("{namespace}/{name}") };
    let mut text = coloured(&format!("{kind} {named}: {status}{since}"), status, has_colours) + "\n";
    for line in [reason, message].into_iter().filter(|line| !line.is_empty()) {
        text += &format!("  {}\n", plain(line));
    }
    let tried = tries.filter(|tries| *tries > 0).map(|tries| format!("; {tries} tries failed")).unwrap_or_default();
    text += &format!("\nNext: {}{tried}\n", of.next);
    if let Some(advice) = of.advice {
        text += &format!("To do: {advice}\n");
    }
    if !of.keys.is_empty() {
        text += &format!("\nKeys\n{}", keys(&of.keys));
    }
    if !of.checks.is_empty() {
        text += "\nThe plan, as of now\n";
        for check in &of.checks {
            let (mark, says) = match (&check.says, check.decides) {
                (None, _) => ("ok", String::new()),
                (Some(says), true) => ("->", format!(": {says}")),
                (Some(says), false) => ("  ", format!(": {says}")),
            };
            text += &format!("  {mark} {}{}\n", check.check, plain(&says));
        }
        text += &of.now.as_ref().map(|now| format!("  so: {}\n", plain(now))).unwrap_or_default();
    }
    if !of.users.is_empty() {
        let rows = of.users.iter().map(|user| vec![user.kind.clone(), user.name.clone(), user.service_account.clone()]);
        let head = ["KIND", "NAME", "SERVICE ACCOUNT"].map(str::to_owned).to_vec();
        text += &format!("\nUsed by\n{}", table(&[head].into_iter().chain(rows).collect::<Vec<_>>()));
    }
    text
}

fn keys(keys: &[Origin]) -> String {
    let head = ["KEY", "ENTRY", "FROM", "REMOTE KEY", "PROPERTY", "VERSION"].map(str::to_owned).to_vec();
    let row = |of: &Origin| {
        let key = if of.feeds_template { format!("({})", of.key) } else { of.key.clone() };
        vec![key, of.entry.clone(), of.source.clone(), of.remote_key.clone(), of.property.clone(), of.version.clone()]
    };
    let text = table(&[head].into_iter().chain(keys.iter().map(row)).collect::<Vec<_>>());
    if keys.iter().any(|of| of.feeds_template) { text + "Keys in () go into the template only.\n" } else { text }
}

#[cfg(test)]
mod tests {
    use keyferry_builders::{at, es};
    use serde_json::json;

    use super::*;

    #[test]
    fn kinds_have_short_words_and_others_a_hint() {
        for (word, kind) in
            [("es", "ExternalSecret"), ("push", "PushSecret"), ("Store", "SecretStore"), ("css", "ClusterSecretStore")]
        {
            assert_eq!(kind_of(word), Ok(kind));
        }
        assert!(kind_of("stroe").is_err_and(|why| why.ends_with("did you mean store?")));
    }

    #[test]
    fn what_a_tenant_wrote_is_told_on_its_own_line() {
        let mut es = es(json!({"data": [{"secretKey": "k", "remoteRef": {"key": "a\u{1b}[2J\nb"}}]}));
        es.status = serde_json::from_value(json!({"conditions": [{
            "type": "Ready", "status": "False", "reason": "R\u{7}", "message": "a\nTo do: nothing\u{1b}[2J",
        }]}))
        .unwrap();
        let standing = standing::external_secret(&es, None, at(0));
        let whole = explanation(standing, Some(&es), &Snapshot::default(), TargetState::Absent, "default", at(0));
        let text = told(&whole, at(0), false);
        assert!(text.lines().all(|line| !line.contains(char::is_control)), "{text:?}");
        assert!(text.contains("  R\\u{7}\n  a\\nTo do: nothing\\u{1b}[2J\n"), "{text}");
        assert!(text.contains("a\\u{1b}[2J\\nb"), "{text}");
    }

    #[test]
    fn what_failed_is_explained_with_its_next_step() {
        let mut es = es(json!({"refreshInterval": "1h"}));
        let message =
            "could not get secret data from provider: SecretStore \"s\" does not exist in namespace \"ns\": create it";
        es.status = serde_json::from_value(json!({"conditions": [{
            "type": "Ready", "status": "False", "reason": "SecretSyncedError", "message": message, "lastTransitionTime": at(400).to_string(),
        }]}))
        .unwrap();
        let snapshot = Snapshot::default();
        let standing = standing::external_secret(&es, None, at(1000));
        let whole = explanation(standing, Some(&es), &snapshot, TargetState::Absent, "default", at(1000));
        let text = told(&whole, at(1000), false);
        for part in [
            "ExternalSecret ns/e: Failed since 10m\n  SecretSyncedError\n  could not get",
            "Next: it is tried again by time, and when it, or what it depends on, changes\n",
            "To do: create the store that it names",
            "k     spec.data[0]   SecretStore \"s\"   a\n",
            "  ok its spec can be carried out\n",
            "  -> its stores can be used: could not get secret data from provider: SecretStore \"s\" does not exist",
        ] {
            assert!(text.contains(part), "{part}\n---\n{text}");
        }
    }
}
