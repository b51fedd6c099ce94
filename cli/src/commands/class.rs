//! `phala class`: enclaves that break together.

use std::collections::{BTreeMap, BTreeSet};

use phala_primitives::{AppId, JobId, attestation::Class, gatekeeper::EpochId};
use phala_sdk::{
    chain::{Call, call},
    exposure::{Exposed, exposure},
};
use serde_json::json;

use crate::{
    Status, args,
    context::Context,
    output::{Output, short, table},
};

pub(crate) async fn run(command: args::Class, context: &Context, output: &Output) -> Status {
    match command {
        args::Class::List => list(context, output).await,
        args::Class::Compromise { class } => {
            change(class, call::compromise(class), "is declared broken", context, output).await
        }
        args::Class::Restore { class } => {
            change(class, call::restore(class), "is no longer declared broken", context, output).await
        }
        args::Class::ReplaceSealingKeys { class } => {
            change(class, call::replace_sealing_keys(class), "has other keys to seal with", context, output).await
        }
        args::Class::Exposure { class } => show_exposure(class, context, output).await,
    }
}

async fn list(context: &Context, output: &Output) -> Status {
    let chain = context.chain().await?;
    let (classes, workers) = chain.read(async |state| Ok((state.compromised().await?, state.workers().await?))).await?;
    let count = |class: &Class| workers.iter().filter(|(_, worker)| worker.classes().contains(class)).count();
    let values: Vec<_> = classes
        .iter()
        .map(|(class, since)| json!({ "class": class.to_string(), "since": since, "workers": count(class) }))
        .collect();
    output.result(&values, || match classes.is_empty() {
        true => "No class is declared broken.".into(),
        false => {
            let rows = classes
                .iter()
                .map(|(class, since)| vec![class.to_string(), since.to_string(), count(class).to_string()]);
            table(&["class", "broken since", "workers"], rows)
        }
    })?;
    Ok(0)
}

async fn change(class: Class, call: Call, effect: &str, context: &Context, output: &Output) -> Status {
    let chain = context.chain().await?;
    let signer = context.signer(&chain).await?;
    output.progress("Submitting …");
    let included = chain.submit(&signer, call::sudo(call)).await?;
    let value = json!({ "class": class.to_string(), "effect": effect, "block": included.block.number });
    output.result(&value, || format!("The class {class} {effect} from block {} on", included.block.number))?;
    Ok(0)
}

/// What of one app was exposed.
#[derive(Default)]
struct ExposedApp {
    jobs: Vec<JobId>,
    blocks: Option<(u32, u32)>,
    epochs: BTreeSet<EpochId>,
}

/// `1, 3 to 5`; `-` for none.
fn ranges(numbers: &BTreeSet<EpochId>) -> String {
    let mut ranges: Vec<(EpochId, EpochId)> = Vec::new();
    for number in numbers {
        match ranges.last_mut() {
            Some((_, last)) if last.checked_add(1) == Some(*number) => *last = *number,
            _ => ranges.push((*number, *number)),
        }
    }
    let texts = ranges.into_iter().map(|(first, last)| match first == last {
        true => first.to_string(),
        false => format!("{first} to {last}"),
    });
    Some(texts.collect::<Vec<_>>().join(", ")).filter(|text| !text.is_empty()).unwrap_or_else(|| "-".into())
}

async fn show_exposure(class: Class, context: &Context, output: &Output) -> Status {
    let exposed = context.chain().await?.read(async |state| exposure(state, class).await).await?;
    let mut apps = BTreeMap::<AppId, ExposedApp>::new();
    for Exposed { job, app, since, epochs, .. } in &exposed {
        let app = apps.entry(*app).or_default();
        app.jobs.push(*job);
        app.epochs.extend(epochs);
        let (first, last) = app.blocks.unwrap_or((*since, *since));
        app.blocks = Some((first.min(*since), last.max(*since)));
    }
    for app in apps.values_mut() {
        app.jobs.dedup();
    }
    let value = json!({ "class": class.to_string(), "jobs": exposed });
    output.result(&value, || match exposed.is_empty() {
        true => format!("No job that the chain still knows was given to a worker of the class {class}."),
        false => {
            let rows = apps.iter().map(|(id, app)| {
                let (first, last) = app.blocks.unwrap_or_default();
                let jobs: Vec<_> = app.jobs.iter().take(8).map(ToString::to_string).collect();
                let more = if app.jobs.len() > jobs.len() { ", …" } else { "" };
                vec![
                    short(id),
                    app.jobs.len().to_string(),
                    format!("{}{more}", jobs.join(", ")),
                    first.to_string(),
                    last.to_string(),
                    ranges(&app.epochs),
                ]
            });
            table(&["app", "jobs", "numbers", "first given in block", "last", "keys of epochs"], rows)
        }
    })?;
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn epochs_are_shown_as_ranges() {
        for (epochs, text) in [(&[][..], "-"), (&[0], "0"), (&[1, 3, 4, 5], "1, 3 to 5"), (&[7, 8, 10], "7 to 8, 10")] {
            assert_eq!(ranges(&epochs.iter().copied().collect()), text);
        }
    }
}
