//! Whether the target takes what is about to be written, asked before anything is.
//!
//! In: the repositories that an import writes into. Out: nothing, or [`Unready`] with all that a person has to do, in one
//! message: behind a gap every further round costs a day. The question is an upload that is opened and cancelled. A
//! registry that makes repositories by itself gets one question for each first component; only an answer that
//! something must exist leads to more. What a survey has found there needs no question.

use std::collections::BTreeMap;

use format_spec::Repository;
use registry::client::{ClientError, Fault, Product, Used};

use crate::error::ImportError;
use crate::limits::{PROBES, QUESTIONS};
use crate::paths::{Destination, nest};
use crate::profile::Profile;
use crate::survey::ask;
use crate::unready::Unready;

/// What can be said of these names without a question: the rules of the product that answered.
pub(crate) fn of_names(
    at: &Destination,
    product: Product,
    places: &[Repository],
) -> Result<(), ImportError> {
    let profile = Profile::of(product);
    let mut unready = Unready::new(at, product);
    let with = |wrong: &dyn Fn(usize) -> bool| -> Vec<String> {
        let wrong = places.iter().filter(|place| wrong(place.components().count()));
        wrong.map(ToString::to_string).collect()
    };
    unready.shallow = with(&|count| count < profile.least);
    if let Some(most) = profile.most {
        unready.deep = with(&|count| count > most);
        unready.most = most;
    }
    refuse(unready)
}

fn refuse(unready: Unready) -> Result<(), ImportError> {
    if unready.is_nothing() { Ok(()) } else { Err(ImportError::Unready(Box::new(unready))) }
}

/// An answer to the question whether a repository takes an upload.
enum Answer {
    Taken,
    /// It is not there, or its name is not possible.
    Missing(ClientError),
    /// It is not there, or the account may not write to it: some registries do not tell which.
    Denied(ClientError),
}

/// Asks the target about these repositories, as few of them as will do.
pub(crate) async fn probe(at: &Destination, places: &[Repository]) -> Result<(), ImportError> {
    let product = at.client.product(at.host()).await?;
    of_names(at, product, places)?;
    let profile = Profile::of(product);
    let namespace = at.target.namespace.as_ref().map_or(0, |name| name.components().count());
    // What one answer speaks for: the project, or whatever it is called; where that is not known, the first component.
    let speaks = |place: &Repository| match profile.made {
        None => place.components().next().unwrap_or_default().to_owned(),
        Some(_) => profile.made_for(place, namespace),
    };
    let mut groups: BTreeMap<String, Vec<&Repository>> = BTreeMap::new();
    for place in places {
        groups.entry(speaks(place)).or_default().push(place);
    }
    // A project is there when something in it is; elsewhere each repository has to be seen itself.
    match profile.made {
        Some(_) => groups.retain(|_, group| !group.iter().any(|place| at.has_seen(place))),
        None => groups.values_mut().for_each(|group| group.retain(|place| !at.has_seen(place))),
    }
    let unseen: Vec<&Repository> = groups.values().flatten().copied().collect();
    let deepest = groups.values().filter_map(|group| {
        group.iter().copied().max_by_key(|place| (place.components().count(), place.as_str()))
    });
    // Where so many names that nobody knows are taken, the registry makes them.
    let width = if profile.made.is_some() { usize::MAX } else { PROBES };
    let first = all(at, deepest.take(width)).await?;
    if first.iter().all(|(_, answer)| matches!(answer, Answer::Taken)) {
        return Ok(());
    }
    let certain = first.iter().any(|(_, answer)| matches!(answer, Answer::Missing(_)));
    let answers = if profile.made.is_none() && (certain || unseen.len() <= PROBES) {
        // Those that were refused among them: once may be an accident.
        all(at, unseen).await?
    } else {
        first
    };
    let mut taken: Vec<Repository> = Vec::new();
    let mut refused: Vec<(Repository, ClientError, bool)> = Vec::new();
    for (place, answer) in answers {
        match answer {
            Answer::Taken => taken.push(place),
            Answer::Missing(error) => refused.push((place, error, false)),
            Answer::Denied(error) => refused.push((place, error, true)),
        }
    }
    let Some((_, first, _)) = refused.first() else { return Ok(()) };
    let mut unready = Unready::new(at, product);
    unready.said = words(first.fault());
    unready.denied = refused.iter().all(|(_, _, denied)| *denied);
    let depth = |place: &Repository| place.components().count();
    let deepest = refused.iter().map(|(place, ..)| place).max_by_key(|place| depth(place));
    if let Some(place) = deepest.filter(|_| profile.flat)
        && let Some(most) = taken_depth(at, place).await?
        // What is as deep and was taken, now or at a second look, says that depth is not what it minds.
        && taken.iter().all(|other| depth(other) <= most)
        && !matches!(one(at, place).await?, Answer::Taken)
    {
        unready.most = most;
    }
    // Nobody is logged in, or nothing at all is open on a registry that is not known: a matter of logins.
    let nobody = refused.iter().any(|(_, error, _)| is_without_login(error.fault()));
    let all_closed = unready.denied && taken.is_empty() && profile.made.is_none();
    if unready.most == 0 && (all_closed || (unready.denied && nobody)) {
        return Err(refused.swap_remove(0).1.into());
    }
    // All of them, asked or not: the option is for all.
    let is_deep = |place: &&Repository| unready.most > 0 && depth(place) > unready.most;
    let deep = places.iter().filter(is_deep).map(ToString::to_string).collect();
    let others = refused.iter().map(|(place, ..)| place).filter(|place| !is_deep(place));
    unready.missing = others.map(|place| profile.made_for(place, namespace)).collect();
    unready.deep = deep;
    unready.missing.sort_unstable();
    unready.missing.dedup();
    refuse(unready)
}

/// Asks about all of these, in the order of their names.
async fn all<'a>(
    at: &'a Destination,
    places: impl IntoIterator<Item = &'a Repository, IntoIter: Send + 'a>,
) -> Result<Vec<(Repository, Answer)>, ImportError> {
    let places: Vec<&Repository> = places.into_iter().collect();
    let mut answers = ask(places, QUESTIONS, |place| {
        Box::pin(async move { Ok((place.clone(), one(at, place).await?)) })
    })
    .await?;
    answers.sort_by(|(one, _), (other, _)| one.cmp(other));
    Ok(answers)
}

async fn one(at: &Destination, place: &Repository) -> Result<Answer, ImportError> {
    let Err(error) = at.client.try_upload(at.host(), place).await else {
        return Ok(Answer::Taken);
    };
    match error.fault() {
        // A refusal without a word of the specification comes from something else than the repository: a proxy, a port
        // that speaks TLS.
        Fault::Refused { status: 400, codes, .. } if codes.is_empty() => Err(error.into()),
        Fault::NotFound { .. } | Fault::Refused { status: 400 | 412 | 422, .. } => {
            Ok(Answer::Missing(error))
        }
        // Harbor answers 401 `project x not found` to whoever may push elsewhere.
        Fault::Unauthorized { detail, .. } | Fault::TokenRefused { detail, .. }
            if ["not found", "does not exist"].iter().any(|words| detail.contains(words)) =>
        {
            Ok(Answer::Missing(error))
        }
        fault => {
            let product = at.client.product(at.host()).await?;
            if is_of_rights(fault, product) { Ok(Answer::Denied(error)) } else { Err(error.into()) }
        }
    }
}

/// Whether the account was let in, and may not push there: which may mean that there is nothing. A password that is
/// wrong is neither.
fn is_of_rights(fault: &Fault, product: Product) -> bool {
    match fault {
        Fault::TokenRefused { withheld, status, .. } => !withheld && *status == 403,
        // These ask for a password, and answer 403 or 404 once it is right.
        Fault::Unauthorized { status: 401, .. } => {
            !matches!(product, Product::Artifactory | Product::Ecr | Product::Nexus)
        }
        Fault::Unauthorized { .. } => true,
        _ => false,
    }
}

/// The most components at which the registry takes the place under a shorter name; `None` when depth is not what
/// it minds.
async fn taken_depth(at: &Destination, place: &Repository) -> Result<Option<usize>, ImportError> {
    for depth in (2..place.components().count()).rev() {
        if let Answer::Taken = one(at, &nest(place, depth)?).await? {
            return Ok(Some(depth));
        }
    }
    Ok(None)
}

fn is_without_login(fault: &Fault) -> bool {
    matches!(
        fault,
        Fault::Unauthorized { used: Used::Nothing(_), .. }
            | Fault::TokenRefused { used: Used::Nothing(_), .. }
    )
}

/// What the registry itself said, and to whom.
fn words(fault: &Fault) -> String {
    match fault {
        Fault::NotFound { detail, .. } | Fault::Refused { detail, .. } => detail.clone(),
        Fault::Unauthorized { detail, used, .. } | Fault::TokenRefused { detail, used, .. } => {
            format!("{detail}; {used}")
        }
        _ => String::new(),
    }
}
