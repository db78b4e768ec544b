//! Writing to Parameter Store: what is there is read first, with its tags, so that what others made is known, and only what
//! differs is written.

use aws_sdk_ssm::config::http::HttpResponse;
use aws_sdk_ssm::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_ssm::types::{ResourceTypeForTagging, Tag};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use keyferry_provider_aws_common::error::About;
use keyferry_provider_aws_common::tags::{MARK, Tags, changes, check_reach, is_ours};
use keyferry_provider_aws_common::{Cause, Failure};
use keyferry_provider_core::property::{self, Left};
use keyferry_provider_core::{Blame, Error, Payload, Push, Reach, Remote, SecretBuf, SecretBytes, json};

use crate::metadata::Options;
use crate::store::ParameterStore;

impl ParameterStore {
    /// Writes a parameter, or one property of it.
    pub(crate) async fn write(&self, push: &Push) -> Result<(), Error> {
        let options = Options::of(&push.remote)?;
        let name = self.name_of(&push.remote.key);
        let kept = self.kept(&name).await?;
        let text = value_of(push, &options, kept.as_ref()).map_err(|error| error.context(what(&name)))?;
        let Some(kept) = kept else { return self.put(&name, &text, &options, false).await };
        let tags = self.tags_of(&name).await?.unwrap_or_default();
        check_reach(&tags, push.reach, &self.service, &what(&name))?;
        self.set_tags(&name, &tags, &options).await?;
        if kept == text { Ok(()) } else { self.put(&name, &text, &options, true).await }
    }

    /// Removes a parameter, or one property of it.
    pub(crate) async fn remove(&self, remote: &Remote, reach: Reach) -> Result<(), Error> {
        let name = self.name_of(&remote.key);
        let tags = self.tags_of(&name).await?;
        if !tags.is_some_and(|tags| reach == Reach::All || is_ours(&tags)) {
            return Ok(());
        }
        let Some(property) = &remote.property else { return self.delete_whole(&name).await };
        let Some(kept) = self.kept(&name).await? else { return Ok(()) };
        match property::remove(kept.expose(), property) {
            Left::All => Ok(()),
            Left::Nothing => self.delete_whole(&name).await,
            Left::Rest(rest) if remote.metadata.is_none() => self.put_rest(&name, &rest).await,
            Left::Rest(rest) => self.put(&name, &rest, &Options::of(remote)?, true).await,
        }
    }

    /// Whether a parameter, or one property of it, is there.
    pub(crate) async fn is_there(&self, remote: &Remote) -> Result<bool, Error> {
        let kept = self.kept(&self.name_of(&remote.key)).await?;
        Ok(kept.is_some_and(|kept| match &remote.property {
            None => true,
            Some(property) => property::get(kept.expose(), property).is_some(),
        }))
    }

    /// The last value; `None` where there is no such parameter.
    async fn kept(&self, name: &str) -> Result<Option<SecretBytes>, Error> {
        match self.client.get_parameter().name(name).with_decryption(true).send().await {
            Ok(answer) => {
                let value = answer.parameter.and_then(|parameter| parameter.value).unwrap_or_default();
                Ok(Some(SecretBytes::new(value.into_bytes())))
            }
            Err(error) => self.unless_missing(&error, "ssm:GetParameter", name).map(|()| None),
        }
    }

    /// The tags of a parameter; `None` where there is none.
    async fn tags_of(&self, name: &str) -> Result<Option<Tags>, Error> {
        let call = self.client.list_tags_for_resource().resource_type(ResourceTypeForTagging::Parameter);
        match call.resource_id(name).send().await {
            Ok(answer) => Ok(Some(answer.tag_list.into_iter().flatten().map(|tag| (tag.key, tag.value)).collect())),
            Err(error) => self.unless_missing(&error, "ssm:ListTagsForResource", name).map(|()| None),
        }
    }

    async fn set_tags(&self, name: &str, there: &Tags, options: &Options) -> Result<(), Error> {
        let changes = changes(there, options.tags.as_ref(), &[]);
        if !changes.removed.is_empty() {
            let call = self.client.remove_tags_from_resource().resource_type(ResourceTypeForTagging::Parameter);
            let answer = call.resource_id(name).set_tag_keys(Some(changes.removed)).send().await;
            answer.map_err(|error| self.refused(&error, "ssm:RemoveTagsFromResource", name))?;
        }
        if changes.set.is_empty() {
            return Ok(());
        }
        let call = self.client.add_tags_to_resource().resource_type(ResourceTypeForTagging::Parameter);
        let answer = call.resource_id(name).set_tags(Some(tag_list(&changes.set)?)).send().await;
        answer.map(drop).map_err(|error| self.refused(&error, "ssm:AddTagsToResource", name))
    }

    /// Writes a value. AWS takes no tags with what overwrites another.
    async fn put(&self, name: &str, text: &SecretBytes, options: &Options, overwrites: bool) -> Result<(), Error> {
        let call = self.client.put_parameter().name(name).set_value(text.expose_str().map(str::to_owned));
        let mut call = call.r#type(options.kind.clone()).description(&options.description).overwrite(overwrites);
        call = call.set_key_id(options.kms_key.clone()).set_tier(options.tier.clone());
        call = call.set_policies(options.policies.clone());
        if !overwrites {
            let mut tags = options.tags.clone().unwrap_or_default();
            tags.insert(MARK.0.to_owned(), MARK.1.to_owned());
            call = call.set_tags(Some(tag_list(&tags)?));
        }
        call.send().await.map(drop).map_err(|error| self.refused(&error, "ssm:PutParameter", name))
    }

    /// Writes what is left of a value of which nothing is said. Without a type the parameter keeps its own.
    async fn put_rest(&self, name: &str, text: &SecretBytes) -> Result<(), Error> {
        let call = self.client.put_parameter().name(name).set_value(text.expose_str().map(str::to_owned));
        let answer = call.overwrite(true).send().await;
        answer.map(drop).map_err(|error| self.refused(&error, "ssm:PutParameter", name))
    }

    async fn delete_whole(&self, name: &str) -> Result<(), Error> {
        match self.client.delete_parameter().name(name).send().await {
            Ok(_) => Ok(()),
            Err(error) => self.unless_missing(&error, "ssm:DeleteParameter", name),
        }
    }

    /// Nothing where the service says that there is no such parameter.
    fn unless_missing<E>(&self, error: &SdkError<E, HttpResponse>, action: &str, name: &str) -> Result<(), Error>
    where
        E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    {
        match Failure::new(error, &self.service) {
            Failure::Refused(Cause::NotFound, _) => Ok(()),
            failure => Err(failure.error(&About { service: &self.service, action, what: &what(name) })),
        }
    }

    fn refused<E>(&self, error: &SdkError<E, HttpResponse>, action: &str, name: &str) -> Error
    where
        E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    {
        Failure::new(error, &self.service).error(&About { service: &self.service, action, what: &what(name) })
    }
}

/// What messages call a parameter.
fn what(name: &str) -> String {
    format!("parameter {name:?}")
}

fn tag_list(tags: &Tags) -> Result<Vec<Tag>, Error> {
    let tags = tags.iter().map(|(key, value)| Tag::builder().key(key).value(value).build());
    tags.collect::<Result<_, _>>().map_err(|_| Error::invalid("metadata: spec.tags has one without a key or value"))
}

/// What is to be kept after a push; always text.
fn value_of(push: &Push, options: &Options, kept: Option<&SecretBytes>) -> Result<SecretBytes, Error> {
    let whole = match &push.payload {
        Payload::Fields(fields) if !options.as_texts => in_base64(fields),
        payload => payload.whole()?,
    };
    if whole.expose_str().is_none() {
        let message = "Parameter Store keeps text only, and this value is none";
        return Err(Error::invalid(message).with_blame(Blame::Request));
    }
    let Some(name) = &push.remote.property else { return Ok(whole) };
    property::set(kept.map(SecretBytes::expose).unwrap_or_default(), name, &whole)
}

/// Several values as External Secrets Operator writes them here.
fn in_base64(fields: &std::collections::BTreeMap<String, SecretBytes>) -> SecretBytes {
    let mut out = SecretBuf::default();
    out.push(b'{');
    for (n, (name, value)) in fields.iter().enumerate() {
        if n > 0 {
            out.push(b',');
        }
        json::write_plain_string(name, &mut out);
        out.extend(b":\"");
        out.extend(SecretBytes::new(STANDARD.encode(value.expose()).into_bytes()).expose());
        out.push(b'"');
    }
    out.push(b'}');
    out.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_values_are_in_base64_unless_they_are_to_be_texts() {
        let fields = [("b".to_owned(), SecretBytes::from("2")), ("a".to_owned(), SecretBytes::new(vec![0xff]))];
        assert_eq!(in_base64(&fields.into()).expose_str(), Some(r#"{"a":"/w==","b":"Mg=="}"#));
        assert_eq!(in_base64(&Default::default()).expose_str(), Some("{}"));
    }
}
