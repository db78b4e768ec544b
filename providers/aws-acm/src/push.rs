//! Importing certificates. A certificate is known again by a tag that names the key it was pushed to.

use std::sync::PoisonError;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use keyferry_provider_aws_common::tags::{MARK, Tags, changes, is_ours, wanted};
use keyferry_provider_core::{Blame, Error, Payload, Push, Reach, Remote, SecretBuf, SecretBytes};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::pem;
use crate::store::CertificateManager;

/// The tag that names the key; External Secrets Operator's.
const NAME_TAG: &str = "external-secrets-remote-key";

/// More pages than this are no answer to a search for one thing.
const MOST_PAGES: usize = 100;

#[derive(Default, Deserialize)]
struct Spec {
    tags: Option<Tags>,
}

/// A certificate to import.
struct Bundle {
    leaf: SecretBytes,
    chain: Vec<SecretBytes>,
    key: SecretBytes,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Tag {
    key: String,
    value: Option<String>,
}

#[derive(Deserialize)]
struct Nothing {}

impl CertificateManager {
    /// Imports a certificate, or imports it anew in place of another.
    pub(crate) async fn write(&self, push: &Push) -> Result<(), Error> {
        let spec: Spec = push.remote.metadata_spec(&["tags"])?;
        let tags = wanted(spec.tags)?;
        let bundle = Bundle::of(&push.payload)?;
        let name = self.name_of(&push.remote.key);
        let Some(arn) = self.arn_of(&name, push.reach).await? else { return self.create(&name, &bundle, tags).await };
        match self.is_kept(&arn, &bundle).await? {
            // It went since it was found, or since it was imported.
            None => {
                self.forget(&name);
                return self.create(&name, &bundle, tags).await;
            }
            Some(true) => {}
            Some(false) => {
                self.import(bundle.body(Some(&arn), &Tags::new()), &name).await?;
            }
        }
        match tags {
            Some(tags) => self.set_tags(&arn, &tags).await,
            None => Ok(()),
        }
    }

    /// Removes a certificate.
    pub(crate) async fn remove(&self, remote: &Remote, reach: Reach) -> Result<(), Error> {
        let name = self.name_of(&remote.key);
        let Some(arn) = self.arn_of(&name, reach).await? else { return Ok(()) };
        let _: Option<Nothing> = self.about("DeleteCertificate", &arn, json!({})).await?;
        self.forget(&name);
        Ok(())
    }

    /// Whether a certificate is there.
    pub(crate) async fn is_there(&self, remote: &Remote) -> Result<bool, Error> {
        let name = self.name_of(&remote.key);
        let Some(arn) = self.arn_of(&name, Reach::All).await? else { return Ok(false) };
        let is_there = self.tags_of(&arn).await?.is_some();
        if !is_there {
            self.forget(&name);
        }
        Ok(is_there)
    }

    /// The ARN of the certificate that was pushed under this name; the first, where there are several.
    async fn arn_of(&self, name: &str, reach: Reach) -> Result<Option<String>, Error> {
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Answer {
            pagination_token: Option<String>,
            resource_tag_mapping_list: Vec<Found>,
        }
        #[derive(Deserialize)]
        struct Found {
            #[serde(rename = "ResourceARN")]
            arn: String,
            #[serde(rename = "Tags", default)]
            tags: Vec<Tag>,
        }
        let known = self.imported.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned();
        if known.is_some() {
            return Ok(known);
        }
        let (mut arns, mut token) = (Vec::new(), String::new());
        for _ in 0..MOST_PAGES {
            let page: Answer = self
                .resources(&json!({
                    "ResourceTypeFilters": ["acm:certificate"],
                    "TagFilters": [{"Key": NAME_TAG, "Values": [name]}],
                    "PaginationToken": token,
                }))
                .await?;
            let ours = page.resource_tag_mapping_list.into_iter().filter(|found| {
                let tags = found.tags.iter().map(|tag| (tag.key.clone(), tag.value.clone().unwrap_or_default()));
                reach == Reach::All || is_ours(&tags.collect())
            });
            arns.extend(ours.map(|found| found.arn));
            token = page.pagination_token.unwrap_or_default();
            if token.is_empty() {
                break;
            }
        }
        Ok(arns.into_iter().min())
    }

    async fn create(&self, name: &str, bundle: &Bundle, tags: Option<Tags>) -> Result<(), Error> {
        let mut tags = tags.unwrap_or_default();
        tags.extend([MARK, (NAME_TAG, name)].map(|(key, value)| (key.to_owned(), value.to_owned())));
        let arn = self.import(bundle.body(None, &tags), name).await?;
        self.imported.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned(), arn);
        Ok(())
    }

    fn forget(&self, name: &str) {
        self.imported.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
    }

    /// Whether the certificate is this one already; `None` where there is none.
    async fn is_kept(&self, arn: &str, bundle: &Bundle) -> Result<Option<bool>, Error> {
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Kept {
            certificate: String,
            certificate_chain: Option<String>,
        }
        let kept: Option<Kept> = self.about("GetCertificate", arn, json!({})).await?;
        Ok(kept.map(|kept| {
            let leaf = pem::certificates(&kept.certificate).unwrap_or_default();
            let chain = pem::certificates(kept.certificate_chain.as_deref().unwrap_or_default()).unwrap_or_default();
            // Of one without a chain AWS tells one all the same.
            let is_chain = bundle.chain.is_empty() || chain == bundle.chain;
            leaf.first() == Some(&bundle.leaf) && leaf.len() == 1 && is_chain
        }))
    }

    async fn tags_of(&self, arn: &str) -> Result<Option<Tags>, Error> {
        #[derive(Deserialize)]
        struct Answer {
            #[serde(rename = "Tags", default)]
            tags: Vec<Tag>,
        }
        let answer: Option<Answer> = self.about("ListTagsForCertificate", arn, json!({})).await?;
        let pair = |tag: Tag| (tag.key, tag.value.unwrap_or_default());
        Ok(answer.map(|answer| answer.tags.into_iter().map(pair).collect()))
    }

    async fn set_tags(&self, arn: &str, wanted: &Tags) -> Result<(), Error> {
        let there = self.tags_of(arn).await?.unwrap_or_default();
        let changes = changes(&there, Some(wanted), &[NAME_TAG]);
        if !changes.removed.is_empty() {
            let tags: Vec<Value> = changes.removed.iter().map(|key| json!({"Key": key, "Value": there[key]})).collect();
            let _: Option<Nothing> = self.about("RemoveTagsFromCertificate", arn, json!({ "Tags": tags })).await?;
        }
        if !changes.set.is_empty() {
            let tags = tag_list(&changes.set);
            let _: Option<Nothing> = self.about("AddTagsToCertificate", arn, json!({ "Tags": tags })).await?;
        }
        Ok(())
    }
}

fn tag_list(tags: &Tags) -> Vec<Value> {
    tags.iter().map(|(key, value)| json!({"Key": key, "Value": value})).collect()
}

impl Bundle {
    /// A Secret of the type kubernetes.io/tls.
    fn of(payload: &Payload) -> Result<Self, Error> {
        let refuse = |message: &str| Error::invalid(message).with_blame(Blame::Request);
        let Payload::Fields(fields) = payload else {
            return Err(refuse("a certificate is pushed with its key, as tls.crt and tls.key: remove secretKey"));
        };
        let field = |name: &str| fields.get(name).filter(|value| !value.is_empty());
        let (Some(certificates), Some(key)) = (field("tls.crt"), field("tls.key")) else {
            return Err(refuse(
                "a certificate is pushed with its key, as tls.crt and tls.key: one of them is not there",
            ));
        };
        let mut all = certificates
            .expose_str()
            .and_then(pem::certificates)
            .ok_or_else(|| refuse("tls.crt does not hold certificates in PEM"))?;
        let leaf = all.remove(0);
        Ok(Self { leaf, chain: all, key: key.clone() })
    }

    /// The body of a call that imports it, in place of the certificate of this ARN, or as a new one with these tags.
    fn body(&self, arn: Option<&str>, tags: &Tags) -> SecretBytes {
        let text = |ders: &[SecretBytes]| {
            let mut out = SecretBuf::default();
            ders.iter().for_each(|der| pem::write("CERTIFICATE", der.expose(), &mut out));
            STANDARD.encode(out.expose())
        };
        let mut plain = json!({"Certificate": text(std::slice::from_ref(&self.leaf))});
        if !self.chain.is_empty() {
            plain["CertificateChain"] = json!(text(&self.chain));
        }
        match arn {
            Some(arn) => plain["CertificateArn"] = json!(arn),
            None => plain["Tags"] = json!(tag_list(tags)),
        }
        // The key is put in last: no copy of it is left behind.
        let plain = plain.to_string();
        let mut out = SecretBuf::with_capacity(plain.len() + 2 * self.key.len() + 32);
        out.extend(plain.strip_suffix('}').unwrap_or_default().as_bytes());
        out.extend(b",\"PrivateKey\":\"");
        out.extend(SecretBytes::new(STANDARD.encode(self.key.expose()).into_bytes()).expose());
        out.extend(b"\"}");
        out.into()
    }
}

#[cfg(test)]
mod tests {
    use keyferry_provider_core::{ErrorKind, json as parts};

    use super::*;

    fn payload(fields: &[(&str, &str)]) -> Payload {
        Payload::Fields(fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).into())).collect())
    }

    fn certificates(ders: &[&[u8]]) -> String {
        let mut out = SecretBuf::default();
        ders.iter().for_each(|der| pem::write("CERTIFICATE", der, &mut out));
        String::from_utf8(out.expose().to_vec()).unwrap()
    }

    #[test]
    fn a_certificate_comes_with_its_key() {
        let chain = certificates(&[b"leaf", b"middle", b"root"]);
        let bundle = Bundle::of(&payload(&[("tls.crt", &chain), ("tls.key", "key"), ("ca.crt", "x")])).unwrap();
        assert_eq!((bundle.leaf.expose(), bundle.chain.len()), (&b"leaf"[..], 2));
        for payload in [
            Payload::Value("x".into()),
            payload(&[("tls.crt", &chain)]),
            payload(&[("tls.key", "key"), ("tls.crt", "")]),
            payload(&[("tls.key", "key"), ("tls.crt", "canary")]),
        ] {
            let error = Bundle::of(&payload).err().unwrap();
            assert_eq!(error.kind(), ErrorKind::Invalid);
            assert!(error.message().contains("tls.crt") && !error.message().contains("canary"), "{error}");
        }
    }

    #[test]
    fn what_is_sent_is_json_with_everything_in_base64() {
        let chain = certificates(&[b"leaf", b"root"]);
        let bundle = Bundle::of(&payload(&[("tls.crt", &chain), ("tls.key", "key")])).unwrap();
        let tags = [("a}".to_owned(), "b}".to_owned())].into();
        for (arn, names) in [
            (None, ["Certificate", "CertificateChain", "PrivateKey", "Tags"]),
            (Some("arn"), ["Certificate", "CertificateArn", "CertificateChain", "PrivateKey"]),
        ] {
            let body = bundle.body(arn, &tags);
            let fields = parts::object(body.expose()).unwrap();
            assert_eq!(fields.keys().collect::<Vec<_>>(), names);
            let read = |name: &str| STANDARD.decode(parts::to_bytes(fields[name]).expose()).unwrap();
            assert_eq!(read("PrivateKey"), b"key");
            assert_eq!(read("Certificate"), certificates(&[b"leaf"]).into_bytes());
            assert_eq!(read("CertificateChain"), certificates(&[b"root"]).into_bytes());
        }
    }
}
