//! Writing to Secrets Manager: what is there is described first, so that what others made is known, and only what differs
//! is written.

use aws_sdk_secretsmanager::config::http::HttpResponse;
use aws_sdk_secretsmanager::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_secretsmanager::operation::describe_secret::DescribeSecretOutput;
use aws_sdk_secretsmanager::types::{ReplicaRegionType, Tag};
use aws_smithy_types::Blob;
use keyferry_provider_aws_common::config::Deletion;
use keyferry_provider_aws_common::error::About;
use keyferry_provider_aws_common::tags::{MARK, Tags, changes, check_reach, is_ours};
use keyferry_provider_aws_common::{Cause, Failure};
use keyferry_provider_core::property::{self, Left};
use keyferry_provider_core::{
    Blame, CaRef, CaSource, Error, ErrorKind, Key, Push, Reach, Remote, SecretBytes, SecretRef, json,
};

use crate::metadata::{Options, Policy, PolicyFrom};
use crate::store::{SecretsManager, what};

/// The name of the first version; External Secrets Operator's. Who makes a secret twice with it makes one.
const FIRST_VERSION: &str = "00000000-0000-0000-0000-000000000001";

/// Marks a secret whose policy was pushed, so that the policies of others stay where a push names none.
const POLICY_MARK: (&str, &str) = ("external-secrets-resource-policy", "pushed");

/// What is known of a secret without its value.
struct Described {
    tags: Tags,
    regions: Vec<String>,
    kms_key: Option<String>,
    has_value: bool,
}

/// A value as it is kept.
struct Kept {
    value: SecretBytes,
    is_text: bool,
}

impl SecretsManager {
    /// Writes a secret, or one property of it.
    pub(crate) async fn write(&self, push: &Push) -> Result<(), Error> {
        let options = Options::of(&push.remote)?;
        let id = self.id_of(&push.remote.key);
        // What is marked for deletion can't be written to, and is no reason to delete anything.
        let Some(there) = self.describe(&id).await.map_err(Error::no_reason_to_delete)? else {
            let value = self.value_of(push, &id, None)?;
            return self.create(&id, &value, &options).await;
        };
        check_reach(&there.tags, push.reach, &self.service, &what(&id, None))?;
        let kept = if there.has_value { self.kept(&id).await? } else { None };
        let value = self.value_of(push, &id, kept.as_ref())?;
        self.set_tags(&id, &there, &options).await?;
        self.set_policy(&id, &there, options.policy.as_ref()).await?;
        self.set_regions(&id, &there, options.regions.as_deref()).await?;
        match kept {
            Some(kept) if kept.value == value => Ok(()),
            _ => self.put(&id, &value, options.is_text).await,
        }
    }

    /// Removes a secret, or one property of it.
    pub(crate) async fn remove(&self, remote: &Remote, reach: Reach) -> Result<(), Error> {
        let id = self.id_of(&remote.key);
        let there = match self.describe(&id).await {
            // What is marked for deletion is as good as deleted.
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            there => there?,
        };
        let Some(there) = there.filter(|there| reach == Reach::All || is_ours(&there.tags)) else { return Ok(()) };
        let Some(property) = &remote.property else { return self.delete_whole(&id, &there).await };
        let kept = if there.has_value { self.kept(&id).await? } else { None };
        let Some(kept) = kept else { return Ok(()) };
        match property::remove(kept.value.expose(), property) {
            Left::All => Ok(()),
            Left::Nothing => self.delete_whole(&id, &there).await,
            Left::Rest(rest) => self.put(&id, &rest, kept.is_text).await,
        }
    }

    /// Whether a secret, or one property of it, is there.
    pub(crate) async fn is_there(&self, remote: &Remote) -> Result<bool, Error> {
        let key = Key { name: remote.key.clone(), version: None, metadata: false };
        match (self.one(&key).await?, &remote.property) {
            (Ok(_), None) => Ok(true),
            (Ok(fetched), Some(property)) => Ok(property::get(fetched.value.expose(), property).is_some()),
            (Err(error), _) if error.kind() == ErrorKind::NotFound => Ok(false),
            // A secret that nobody has given a value yet.
            (Err(error), property) if error.kind() == ErrorKind::NoVersion => Ok(property.is_none()),
            (Err(error), _) => Err(error),
        }
    }

    /// What is to be kept after a push.
    fn value_of(&self, push: &Push, id: &str, kept: Option<&Kept>) -> Result<SecretBytes, Error> {
        let whole = push.payload.whole()?;
        let Some(name) = &push.remote.property else { return Ok(whole) };
        let there = kept.map(|kept| kept.value.expose()).unwrap_or_default();
        property::set(there, name, &whole).map_err(|error| error.context(what(id, None)))
    }

    async fn describe(&self, id: &str) -> Result<Option<Described>, Error> {
        let described = match self.client.describe_secret().secret_id(id).send().await {
            Ok(described) => described,
            Err(error) => match Failure::new(&error, &self.service) {
                Failure::Refused(Cause::NotFound, _) => return Ok(None),
                failure => return Err(self.refusal(failure, "secretsmanager:DescribeSecret", id)),
            },
        };
        let DescribeSecretOutput { tags, replication_status, kms_key_id, version_ids_to_stages, deleted_date, .. } =
            described;
        if deleted_date.is_some() {
            return Err(Cause::MarkedForDeletion.error(&About {
                service: &self.service,
                action: "",
                what: &what(id, None),
            }));
        }
        let tags = tags.into_iter().flatten().map(|tag| (tag.key.unwrap_or_default(), tag.value.unwrap_or_default()));
        Ok(Some(Described {
            tags: tags.collect(),
            regions: replication_status.into_iter().flatten().filter_map(|replica| replica.region).collect(),
            kms_key: kms_key_id,
            has_value: version_ids_to_stages.is_some_and(|versions| !versions.is_empty()),
        }))
    }

    /// The current value; `None` where there is none.
    async fn kept(&self, id: &str) -> Result<Option<Kept>, Error> {
        match self.client.get_secret_value().secret_id(id).send().await {
            Ok(answer) => {
                let is_text = answer.secret_string.is_some();
                let value = self.value(answer.secret_string, answer.secret_binary, id)?;
                Ok(Some(Kept { value, is_text }))
            }
            Err(error) => match Failure::new(&error, &self.service) {
                Failure::Refused(Cause::NoSuchVersion, _) => Ok(None),
                failure => Err(self.refusal(failure, "secretsmanager:GetSecretValue", id)),
            },
        }
    }

    async fn create(&self, id: &str, value: &SecretBytes, options: &Options) -> Result<(), Error> {
        // Read before anything is written.
        let policy = match &options.policy {
            Some(policy) => Some((policy, self.policy_text(policy).await?)),
            None => None,
        };
        let mut call = self.client.create_secret().name(id).client_request_token(FIRST_VERSION);
        call = call.description(&options.description).kms_key_id(&options.kms_key);
        let marks = [Some(MARK), policy.as_ref().map(|_| POLICY_MARK)];
        let marks = marks.into_iter().flatten().map(|(key, value)| tag(key, value));
        let own = options.tags.iter().flatten().map(|(key, value)| tag(key, value));
        call = call.set_tags(Some(marks.chain(own).collect()));
        let regions = options.regions.iter().flatten().map(|region| replica(region, Some(&options.kms_key)));
        call = call.set_add_replica_regions(Some(regions.collect()).filter(|all: &Vec<_>| !all.is_empty()));
        let (text, binary) = forms(value, options.is_text, id)?;
        let answer = call.set_secret_string(text).set_secret_binary(binary).send().await;
        answer.map_err(|error| self.refused(&error, "secretsmanager:CreateSecret", id))?;
        match policy {
            Some((policy, text)) => self.put_policy(id, text, policy.block_public).await,
            None => Ok(()),
        }
    }

    async fn put(&self, id: &str, value: &SecretBytes, is_text: bool) -> Result<(), Error> {
        let (text, binary) = forms(value, is_text, id)?;
        let call = self.client.put_secret_value().secret_id(id).set_secret_string(text).set_secret_binary(binary);
        call.send().await.map(drop).map_err(|error| self.refused(&error, "secretsmanager:PutSecretValue", id))
    }

    /// Sets the tags that a push asks for, and the marks of what is ours.
    async fn set_tags(&self, id: &str, there: &Described, options: &Options) -> Result<(), Error> {
        let mut changes = changes(&there.tags, options.tags.as_ref(), &[POLICY_MARK.0]);
        // Before the policy: a policy of ours without the mark would stay for ever.
        if options.policy.is_some() && !there.tags.contains_key(POLICY_MARK.0) {
            changes.set.insert(POLICY_MARK.0.to_owned(), POLICY_MARK.1.to_owned());
        }
        if !changes.removed.is_empty() {
            self.untag(id, changes.removed).await?;
        }
        if changes.set.is_empty() {
            return Ok(());
        }
        let tags = changes.set.iter().map(|(key, value)| tag(key, value)).collect();
        let answer = self.client.tag_resource().secret_id(id).set_tags(Some(tags)).send().await;
        answer.map(drop).map_err(|error| self.refused(&error, "secretsmanager:TagResource", id))
    }

    async fn untag(&self, id: &str, keys: Vec<String>) -> Result<(), Error> {
        let answer = self.client.untag_resource().secret_id(id).set_tag_keys(Some(keys)).send().await;
        answer.map(drop).map_err(|error| self.refused(&error, "secretsmanager:UntagResource", id))
    }

    /// Sees to it that the policy is as a push asks for. One that a push put there goes when pushes ask for none any more;
    /// one that others put there stays.
    async fn set_policy(&self, id: &str, there: &Described, policy: Option<&Policy>) -> Result<(), Error> {
        let Some(policy) = policy else {
            if !there.tags.contains_key(POLICY_MARK.0) {
                return Ok(());
            }
            let answer = self.client.delete_resource_policy().secret_id(id).send().await;
            answer.map_err(|error| self.refused(&error, "secretsmanager:DeleteResourcePolicy", id))?;
            return self.untag(id, vec![POLICY_MARK.0.to_owned()]).await;
        };
        let wanted = self.policy_text(policy).await?;
        let answer = self.client.get_resource_policy().secret_id(id).send().await;
        let answer = answer.map_err(|error| self.refused(&error, "secretsmanager:GetResourcePolicy", id))?;
        let canonical = |text: &str| json::value(text.as_bytes()).and_then(json::canonical);
        let kept = answer.resource_policy.as_deref().and_then(canonical);
        if kept.is_some() && kept == canonical(&wanted) {
            return Ok(());
        }
        self.put_policy(id, wanted, policy.block_public).await
    }

    async fn put_policy(&self, id: &str, policy: String, block_public: Option<bool>) -> Result<(), Error> {
        let call = self.client.put_resource_policy().secret_id(id).resource_policy(policy);
        let answer = call.set_block_public_policy(block_public).send().await;
        let of = |error| self.refused(&error, "secretsmanager:PutResourcePolicy", id).context("the resource policy");
        answer.map(drop).map_err(of)
    }

    /// The policy, out of the namespace that pushes.
    async fn policy_text(&self, policy: &Policy) -> Result<String, Error> {
        let field = "metadata: spec.resourcePolicy.policySourceRef";
        let Some(namespace) = self.caller.namespace.clone() else {
            let message = format!("{field} is read from the namespace that pushes, and there is none");
            return Err(Error::new(ErrorKind::Referent, message));
        };
        let (name, key, namespace) = (policy.name.clone(), Some(policy.key.clone()), Some(namespace));
        let bytes = match policy.from {
            PolicyFrom::Secret => {
                let reference = SecretRef { name: Some(name), key, namespace };
                self.credentials.secret(&reference, None).await.map(|value| value.expose().to_vec())
            }
            PolicyFrom::ConfigMap => {
                self.credentials.ca_bundle(&CaRef { source: CaSource::ConfigMap, name, key, namespace }).await
            }
        };
        let text = String::from_utf8(bytes.map_err(|error| error.context(field))?).ok();
        text.filter(|text| json::object(text.as_bytes()).is_some())
            .ok_or_else(|| Error::invalid(format!("{field} holds no JSON object")).with_blame(Blame::Request))
    }

    /// Sees to it that there are copies in these regions and in no others; those there are stay where a push names none.
    async fn set_regions(&self, id: &str, there: &Described, regions: Option<&[String]>) -> Result<(), Error> {
        let Some(regions) = regions else { return Ok(()) };
        let extra: Vec<String> = there.regions.iter().filter(|region| !regions.contains(region)).cloned().collect();
        self.remove_regions(id, extra).await?;
        let missing = regions.iter().filter(|region| !there.regions.contains(region));
        let missing: Vec<_> = missing.map(|region| replica(region, there.kms_key.as_deref())).collect();
        if missing.is_empty() {
            return Ok(());
        }
        let call = self.client.replicate_secret_to_regions().secret_id(id).set_add_replica_regions(Some(missing));
        let answer = call.send().await;
        answer.map(drop).map_err(|error| self.refused(&error, "secretsmanager:ReplicateSecretToRegions", id))
    }

    async fn remove_regions(&self, id: &str, regions: Vec<String>) -> Result<(), Error> {
        if regions.is_empty() {
            return Ok(());
        }
        let call =
            self.client.remove_regions_from_replication().secret_id(id).set_remove_replica_regions(Some(regions));
        let answer = call.send().await;
        answer.map(drop).map_err(|error| self.refused(&error, "secretsmanager:RemoveRegionsFromReplication", id))
    }

    /// AWS deletes no secret that has copies elsewhere.
    async fn delete_whole(&self, id: &str, there: &Described) -> Result<(), Error> {
        self.remove_regions(id, there.regions.clone()).await?;
        let call = self.client.delete_secret().secret_id(id);
        let call = match self.deletion {
            Deletion::Usual => call,
            Deletion::Days(days) => call.recovery_window_in_days(days),
            Deletion::AtOnce => call.force_delete_without_recovery(true),
        };
        match call.send().await {
            Ok(_) => Ok(()),
            Err(error) => match Failure::new(&error, &self.service) {
                Failure::Refused(Cause::NotFound | Cause::MarkedForDeletion, _) => Ok(()),
                failure => Err(self.refusal(failure, "secretsmanager:DeleteSecret", id)),
            },
        }
    }

    fn refused<E>(&self, error: &SdkError<E, HttpResponse>, action: &str, id: &str) -> Error
    where
        E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    {
        self.refusal(Failure::new(error, &self.service), action, id)
    }

    fn refusal(&self, failure: Failure, action: &str, id: &str) -> Error {
        failure.error(&About { service: &self.service, action, what: &what(id, None) })
    }
}

fn tag(key: &str, value: &str) -> Tag {
    Tag::builder().key(key).value(value).build()
}

fn replica(region: &str, kms_key: Option<&str>) -> ReplicaRegionType {
    ReplicaRegionType::builder().region(region).set_kms_key_id(kms_key.map(str::to_owned)).build()
}

/// A value as text, or as bytes.
fn forms(value: &SecretBytes, is_text: bool, id: &str) -> Result<(Option<String>, Option<Blob>), Error> {
    if !is_text {
        return Ok((None, Some(Blob::new(value.expose()))));
    }
    let text = value.expose_str().ok_or_else(|| {
        let message = format!("the {} is no text: set spec.secretPushFormat to binary in metadata", what(id, None));
        Error::invalid(message).with_blame(Blame::Request)
    })?;
    Ok((Some(text.to_owned()), None))
}
