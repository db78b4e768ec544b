//! What a secret is called: by its name, by its ARN, and by either with or without the six random characters that
//! AWS adds at the end of an ARN.

/// Whether `id`, as somebody asked, is the secret of this name and ARN, by the rules that leave no doubt.
pub fn is_exactly(id: &str, name: &str, arn: &str) -> bool {
    id == name || id == arn
}

/// Whether `id` is the secret of this name and ARN in one of the other ways that AWS accepts: an ARN without the random
/// characters, or a name with them.
pub fn is_loosely(id: &str, name: &str, arn: &str) -> bool {
    let Some((place, resource)) = split(arn) else { return false };
    match split(id) {
        Some((asked_place, asked)) => asked_place == place && asked == name,
        None => id == resource,
    }
}

/// Whether an answer about one of these could be taken for one about the other: a name says nothing of the account that
/// an ARN names, so that both may be called the same and be different secrets.
pub fn are_confusable(a: &str, b: &str) -> bool {
    match (split(a), split(b)) {
        (Some(_), Some(_)) | (None, None) => false,
        (Some((_, resource)), None) => could_be(resource, b),
        (None, Some((_, resource))) => could_be(resource, a),
    }
}

/// Whether the end of an ARN, which may or may not have random characters, could be that of a secret of this name, which
/// again may or may not have them.
fn could_be(resource: &str, name: &str) -> bool {
    [resource, without_random(resource)].iter().any(|a| [name, without_random(name)].contains(a))
}

fn without_random(text: &str) -> &str {
    match text.rsplit_once('-') {
        Some((start, random)) if random.len() == 6 && random.bytes().all(|byte| byte.is_ascii_alphanumeric()) => start,
        _ => text,
    }
}

/// An ARN of a secret as the part that says where, and the name with the random characters.
fn split(id: &str) -> Option<(&str, &str)> {
    if id.starts_with("arn:") { id.split_once(":secret:") } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ARN: &str = "arn:aws:secretsmanager:eu-west-1:111122223333:secret:team/app-Ab12Cd";

    #[test]
    fn every_way_to_call_a_secret() {
        for (id, exactly, loosely) in [
            ("team/app", true, false),
            (ARN, true, false),
            ("arn:aws:secretsmanager:eu-west-1:111122223333:secret:team/app", false, true),
            ("team/app-Ab12Cd", false, true),
            ("team/ap", false, false),
            ("app", false, false),
            ("arn:aws:secretsmanager:eu-west-1:999999999999:secret:team/app", false, false),
            ("arn:aws:secretsmanager:eu-west-1:111122223333:secret:team", false, false),
            ("arn:nonsense", false, false),
            ("", false, false),
        ] {
            assert_eq!(is_exactly(id, "team/app", ARN), exactly, "{id}");
            assert_eq!(is_loosely(id, "team/app", ARN), loosely, "{id}");
        }
    }

    #[test]
    fn a_name_and_an_arn_of_that_name_are_confusable() {
        for (a, b, expected) in [
            ("team/app", ARN, true),
            (ARN, "team/app-Ab12Cd", true),
            ("team/app", "arn:aws:secretsmanager:eu-west-1:111122223333:secret:team/app", true),
            ("team/other", ARN, false),
            ("team/app", "team/app-Ab12Cd", false),
            (ARN, "arn:aws:secretsmanager:eu-west-1:999999999999:secret:team/app", false),
        ] {
            assert_eq!(are_confusable(a, b), expected, "{a} {b}");
            assert_eq!(are_confusable(b, a), expected, "{b} {a}");
        }
    }
}
