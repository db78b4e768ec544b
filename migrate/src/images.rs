//! Whose an image is, by its name.

/// The image without its tag and digest.
pub fn repository(image: &str) -> &str {
    let image = image.split('@').next().unwrap_or_default();
    match image.rsplit_once(':') {
        // What stands before a slash is a port.
        Some((repository, tag)) if !tag.contains('/') => repository,
        _ => image,
    }
}

/// Whether it is External Secrets Operator's, of whichever registry.
pub fn is_eso(image: &str) -> bool {
    // Other flavours have it in the tag; some mirrors put it into the name.
    let repository = repository(image);
    let flavourless = ["-ubi-boringssl", "-ubi"].iter().find_map(|flavour| repository.strip_suffix(flavour));
    let name = flavourless.unwrap_or(repository);
    name == "external-secrets/external-secrets" || name.ends_with("/external-secrets/external-secrets")
}

/// Whether it is keyferry's.
pub fn is_keyferry(image: &str) -> bool {
    let repository = repository(image);
    repository == "keyferry" || repository.ends_with("/keyferry")
}
