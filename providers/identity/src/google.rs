//! The login by Google's word: a JWT for the server, signed with a service account's key, by Google for a service account
//! that we may act for, or by the metadata server for the machine.

use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use keyferry_provider_core::{
    BuildContext, Error, ErrorKind, SecretBuf, SecretBytes, SecretRef, ServiceAccountRef, json,
};
use keyferry_provider_http::path::segment;
use keyferry_provider_http::{form, shared};

use crate::cloud::{Answer, Service, Shown, header_value};

/// Whose word Google gives.
#[derive(Debug)]
pub enum GoogleIdentity {
    /// That of the service account whose key file this is.
    Key(SecretRef),
    /// That of the service account that a Kubernetes ServiceAccount may act for.
    Workload {
        /// The Kubernetes ServiceAccount.
        account: ServiceAccountRef,
        /// The cluster, as far as the spec names it: project, location and name. The metadata server knows the rest.
        cluster: [Option<String>; 3],
    },
    /// That of the operator's machine or pod.
    Operator,
}

/// How long a JWT is good. The server takes none that is good for more than fifteen minutes.
const LIFE: u64 = 600;

/// Where a ServiceAccount says which service account of Google it may act for.
const ACCOUNT_ANNOTATION: &str = "iam.gke.io/gcp-service-account";

const SCOPE: &str = "https://www.googleapis.com/auth/cloud-platform";

/// The JWT to log in with, at the server that goes by the name of this audience.
///
/// # Errors
/// Those of the port and of the calls to Google; `Invalid` where there is no identity to sign with.
pub async fn jwt(identity: &GoogleIdentity, audience: &str, shown: &Shown<'_>) -> Result<SecretBytes, Error> {
    match identity {
        GoogleIdentity::Key(reference) => {
            let field = "secretRef.secretAccessKeySecretRef";
            let file = shown.secret(reference, None, field).await?;
            by_key(&file, audience, &shown.at(field))
        }
        GoogleIdentity::Workload { account, cluster } => by_account(account, cluster, audience, shown).await,
        GoogleIdentity::Operator if !shown.ctx.ambient_identity => Err(Error::invalid(format!(
            "{} names no credentials, and --ambient-identity keeps this store from using the operator's own Google \
             identity: set secretRef or workloadIdentity",
            shown.field
        ))),
        GoogleIdentity::Operator => {
            shown.check_server()?;
            let query = [("audience", audience), ("format", "full")];
            metadata(shown.ctx, "GetIdentityToken", "instance/service-accounts/default/identity", &query).await
        }
    }
}

/// What a JWT for the server says.
fn claims(email: &str, audience: &str) -> SecretBytes {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let mut out = SecretBuf::default();
    out.extend(b"{\"aud\":");
    json::write_string(audience, &mut out);
    out.extend(format!(",\"exp\":{},\"iat\":{now},\"sub\":", now + LIFE).as_bytes());
    json::write_string(email, &mut out);
    out.push(b'}');
    out.into()
}

/// A JWT for this audience, signed with the key file of a service account; `field` is where that comes from.
///
/// # Errors
/// `Invalid` where it is none.
pub fn by_key(file: &SecretBytes, audience: &str, field: &str) -> Result<SecretBytes, Error> {
    let wrong = |what: &str| Error::invalid(format!("{field} {what}: it must hold the key file of a service account"));
    let file = json::object(file.expose()).ok_or_else(|| wrong("is no JSON object"))?;
    let field_of = |name: &str| file.get(name).map(|raw| json::to_bytes(raw)).filter(|text| !text.is_empty());
    let (email, id, key) = (field_of("client_email"), field_of("private_key_id"), field_of("private_key"));
    let (Some(email), Some(id), Some(key)) = (email, id, key) else {
        return Err(wrong("lacks client_email, private_key_id or private_key"));
    };
    let pair = pair(&key).ok_or_else(|| wrong("holds no RSA key that can be read"))?;
    let mut header = SecretBuf::default();
    let text = |part: &SecretBytes| part.expose_str().map(str::to_owned).ok_or_else(|| wrong("is not UTF-8"));
    header.extend(b"{\"alg\":\"RS256\",\"kid\":");
    json::write_string(&text(&id)?, &mut header);
    header.extend(b",\"typ\":\"JWT\"}");
    let mut jwt = SecretBuf::default();
    jwt.extend(URL_SAFE_NO_PAD.encode(header.expose()).as_bytes());
    jwt.push(b'.');
    jwt.extend(URL_SAFE_NO_PAD.encode(claims(&text(&email)?, audience).expose()).as_bytes());
    let mut signature = vec![0; pair.public_modulus_len()];
    pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), jwt.expose(), &mut signature)
        .map_err(|_| wrong("holds a key that can't sign"))?;
    jwt.push(b'.');
    jwt.extend(URL_SAFE_NO_PAD.encode(signature).as_bytes());
    Ok(jwt.into())
}

/// The key in a PEM of PKCS#8, which is what Google writes.
fn pair(pem: &SecretBytes) -> Option<RsaKeyPair> {
    let text = pem.expose_str()?;
    let (_, rest) = text.split_once("-----BEGIN PRIVATE KEY-----")?;
    let (base64, _) = rest.split_once("-----END PRIVATE KEY-----")?;
    let mut letters = SecretBuf::with_capacity(base64.len());
    base64.bytes().filter(|byte| !byte.is_ascii_whitespace()).for_each(|byte| letters.push(byte));
    let der = SecretBytes::new(STANDARD.decode(letters.expose()).ok()?);
    RsaKeyPair::from_pkcs8(der.expose()).ok()
}

/// By workload identity: the token of a ServiceAccount is changed for one of Google's, that for one of the service account
/// that it may act for, and that one has Google sign.
async fn by_account(
    account: &ServiceAccountRef,
    cluster: &[Option<String>; 3],
    for_whom: &str,
    shown: &Shown<'_>,
) -> Result<SecretBytes, Error> {
    let (name, ctx) = ("workloadIdentity.serviceAccountRef", shown.ctx);
    let field = shown.at(name);
    let Some(email) = shown.annotations(account, name).await?.remove(ACCOUNT_ANNOTATION) else {
        return Err(Error::invalid(format!(
            "{field}: a service account must sign for the ServiceAccount {:?}: annotate it with {ACCOUNT_ANNOTATION}",
            account.name
        )));
    };
    // It becomes a segment of a path.
    if !email.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"@.-_".contains(&byte)) {
        return Err(Error::invalid(format!(
            "{field}: {ACCOUNT_ANNOTATION} holds what is no service account of Google"
        )));
    }
    let [project, location, cluster] = whole(cluster, ctx).await?;
    let pool = format!("{project}.svc.id.goog");
    let token = shown.token(account, &[&pool], name).await?;
    let audience = format!(
        "identitynamespace:{pool}:https://container.googleapis.com/v1/projects/{project}/locations/{location}/clusters/{cluster}"
    );
    let token = changed(&audience, shown.text(&token)?.trim(), ctx).await?;
    let iam = Service::new(
        ("Google's IAM", "GCP/IAMCredentials"),
        "https://iamcredentials.googleapis.com",
        &["CLOUDSDK_API_ENDPOINT_OVERRIDES_IAMCREDENTIALS"],
        ctx,
    )?;
    let path = format!("/v1/projects/-/serviceAccounts/{email}");
    let body = format!("{{\"scope\":[\"{SCOPE}\"]}}").as_str().into();
    let generate = format!("{path}:generateAccessToken");
    let token = posted(&iam, "GenerateAccessToken", &generate, &token, &body, "accessToken").await;
    let token = token.map_err(|error| refused(error, &account.name, &email, "roles/iam.workloadIdentityUser"))?;
    let claims = claims(&email, for_whom);
    let body = json::object_of_texts([("payload", shown.text(&claims)?)]);
    let jwt = posted(&iam, "SignJwt", &format!("{path}:signJwt"), &token, &body, "signedJwt").await;
    jwt.map_err(|error| refused(error, &email, &email, "roles/iam.serviceAccountTokenCreator"))
}

/// The same error, where it is a refusal: who needs what.
fn refused(error: Error, who: &str, whom: &str, role: &str) -> Error {
    if error.kind() == ErrorKind::Unauthenticated {
        Error::new(error.kind(), format!("Google does not let {who:?} act for {whom:?}: grant it {role} there"))
    } else {
        error
    }
}

/// What the spec does not name of a cluster, from its metadata server.
async fn whole(cluster: &[Option<String>; 3], ctx: &BuildContext) -> Result<[String; 3], Error> {
    let paths = ["project/project-id", "instance/attributes/cluster-location", "instance/attributes/cluster-name"];
    let mut found = [const { String::new() }; 3];
    for ((found, given), path) in found.iter_mut().zip(cluster).zip(paths) {
        *found = match given {
            Some(given) => given.clone(),
            None => {
                let text = metadata(ctx, "GetMetadata", path, &[]).await?;
                text.expose_str().unwrap_or_default().trim().to_owned()
            }
        };
    }
    Ok(found)
}

/// Google's token for a token of Kubernetes.
async fn changed(audience: &str, token: &str, ctx: &BuildContext) -> Result<SecretBytes, Error> {
    let sts = Service::new(
        ("Google's token service", "GCP/STS"),
        "https://sts.googleapis.com",
        &["CLOUDSDK_API_ENDPOINT_OVERRIDES_STS"],
        ctx,
    )?;
    let body = form(&[
        ("audience", audience.as_bytes()),
        ("grant_type", b"urn:ietf:params:oauth:grant-type:token-exchange"),
        ("requested_token_type", b"urn:ietf:params:oauth:token-type:access_token"),
        ("scope", SCOPE.as_bytes()),
        ("subject_token", token.as_bytes()),
        ("subject_token_type", b"urn:ietf:params:oauth:token-type:jwt"),
    ]);
    let answer = sts
        .ask("ExchangeToken", "/v1/token", |http, url| {
            http.post(url).header("content-type", "application/x-www-form-urlencoded").body(shared(&body))
        })
        .await?;
    let refused =
        "Google does not take the token of the ServiceAccount: check project, location and name of the cluster";
    held(&sts, answer, "access_token", refused)
}

async fn posted(
    iam: &Service<'_>,
    call: &'static str,
    path: &str,
    token: &SecretBytes,
    body: &SecretBytes,
    field: &str,
) -> Result<SecretBytes, Error> {
    let mut bearer = SecretBuf::with_capacity(7 + token.len());
    bearer.extend(b"Bearer ");
    bearer.extend(token.expose());
    let bearer = header_value(bearer.expose(), "a token of Google's")?;
    let answer = iam
        .ask(call, path, |http, url| {
            let request = http.post(url).header("authorization", bearer);
            request.header("content-type", "application/json").body(shared(body))
        })
        .await?;
    held(iam, answer, field, "")
}

/// A field of an answer; `refused` is said where there is none for us.
fn held(service: &Service<'_>, answer: Answer, field: &str, refused: &str) -> Result<SecretBytes, Error> {
    match answer.status {
        200 => {
            let body = json::object(answer.body.expose()).unwrap_or_default();
            let found = body.get(field).map(|raw| json::to_bytes(raw)).filter(|text| !text.is_empty());
            found.ok_or_else(|| service.malformed())
        }
        400 | 401 | 403 | 404 => Err(Error::new(ErrorKind::Unauthenticated, refused)),
        _ => Err(answer.error),
    }
}

/// What the metadata server says. Its name is one that stores of a namespace can't lead to; that it may be asked at all
/// was decided before.
async fn metadata(
    ctx: &BuildContext,
    call: &'static str,
    path: &str,
    query: &[(&str, &str)],
) -> Result<SecretBytes, Error> {
    let host = (ctx.environment)("GCE_METADATA_HOST").filter(|host| !host.is_empty());
    let url = format!("http://{}", host.as_deref().unwrap_or("metadata.google.internal"));
    let mut server = Service::new(("the metadata server", "GCP/Metadata"), &url, &[], ctx)?;
    server.is_of_operator = true;
    let query: Vec<String> = query.iter().map(|(name, value)| format!("{name}={}", segment(value))).collect();
    let path = format!("/computeMetadata/v1/{path}?{}", query.join("&"));
    let path = path.trim_end_matches('?');
    let answer = server.ask(call, path, |http, url| http.get(url).header("metadata-flavor", "Google")).await?;
    match answer.status {
        200 if !answer.body.is_empty() => Ok(answer.body),
        403 | 404 => Err(Error::new(
            ErrorKind::Unauthenticated,
            "the metadata server gives the operator no identity token: check the service account of its machine or pod",
        )),
        _ => Err(answer.error),
    }
}
