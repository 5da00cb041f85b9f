//! Photos and recordings beside an entry.

use std::{
    fs::{File, OpenOptions},
    path::{Path, PathBuf},
    time::Duration,
};

use rhizome::{AttachmentRef, NewAttachment, Pod, Value, path};
use serde_json::json;

use crate::{
    entry::{COLLECTION, find},
    failure::{Failure, system},
    output::{Output, one_line},
};

/// The field of an entry that lists its attachments.
const FIELD: &str = "attachments";
/// Media types of files that people attach, by their ending.
const TYPES: [(&str, &str); 14] = [
    ("jpg", "image/jpeg"),
    ("jpeg", "image/jpeg"),
    ("png", "image/png"),
    ("gif", "image/gif"),
    ("webp", "image/webp"),
    ("heic", "image/heic"),
    ("mp3", "audio/mpeg"),
    ("m4a", "audio/mp4"),
    ("ogg", "audio/ogg"),
    ("wav", "audio/wav"),
    ("mp4", "video/mp4"),
    ("mov", "video/quicktime"),
    ("pdf", "application/pdf"),
    ("txt", "text/plain"),
];

/// What `attach` was given.
#[derive(Debug, clap::Args)]
pub struct Attach {
    /// Its id, or the first letters of it
    pub id: String,
    /// The file
    pub file: PathBuf,
    /// Its media type; without it, by the file's ending
    #[arg(long = "type", value_name = "TYPE")]
    pub media_type: Option<String>,
    /// A small picture (256 KiB at the most) that comes before the file itself
    #[arg(long, value_name = "FILE")]
    pub thumbnail: Option<PathBuf>,
}

fn type_of(file: &Path) -> String {
    let ending = file.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
    let ending = ending.to_ascii_lowercase();
    let known = TYPES.iter().find(|(known, _)| *known == ending);
    known.map_or("application/octet-stream", |(_, kind)| kind).to_owned()
}

/// Attaches a file to an entry.
pub async fn attach(pod: &Pod, output: &Output, what: &Attach) -> Result<(), Failure> {
    let document = find(pod, &what.id).await?;
    let source = File::open(&what.file).map_err(system("cannot read the file"))?;
    let thumbnail = match &what.thumbnail {
        Some(file) => Some((
            std::fs::read(file).map_err(system("cannot read the thumbnail"))?,
            type_of(file),
        )),
        None => None,
    };
    let name = what.file.file_name().map(|name| name.to_string_lossy().into_owned());
    let described = NewAttachment {
        media_type: what.media_type.clone().unwrap_or_else(|| type_of(&what.file)),
        name,
        thumbnail,
        progress: None,
    };
    let attached = pod.attach(source, described).await?;
    let value = attached.to_value();
    let edit = pod.edit_document(COLLECTION, document, move |edit| match edit.get(&path([FIELD])) {
        Some(Value::List(list)) => edit.insert(&path([FIELD]), list.len(), value.clone()),
        _ => edit.set(&path([FIELD]), Value::List(vec![value.clone()])),
    });
    edit.await?;
    let json = json!({"id": document.to_string(), "attachment": attached.id.to_string(), "size": attached.size});
    output.result(&json, || {
        format!("{}  {} bytes attached", attached.id.short(), attached.size)
    });
    Ok(())
}

/// Lists what is attached to an entry, and writes it into a folder if one is given.
pub async fn attachments(
    pod: &Pod,
    output: &Output,
    id: &str,
    save: Option<&Path>,
    deadline: u64,
) -> Result<(), Failure> {
    let document = find(pod, id).await?;
    let mut rows = Vec::new();
    for attached in pod.attachments_of(document).await? {
        let saved = match save {
            Some(dir) => Some(save_in(pod, &attached, dir, Duration::from_secs(deadline)).await?),
            None => None,
        };
        let status = pod.attachment_status(attached.id).await?;
        rows.push((attached, status, saved));
    }
    if output.is_json() {
        let rows = rows.iter().map(|(attached, status, saved)| {
            let held: Vec<_> = status.holders.iter().map(|holder| holder.name.clone()).collect();
            json!({
                "id": attached.id.to_string(), "name": attached.name, "type": attached.media_type, "size": attached.size,
                "thumbnail": attached.thumbnail.as_ref().map(|small| small.id.to_string()),
                "here": status.size.is_some_and(|size| status.here == size), "held_by": held,
                "saved": saved.as_ref().map(|file| file.display().to_string()),
            })
        });
        output.text(&json!({"attachments": rows.collect::<Vec<_>>()}).to_string());
        return Ok(());
    }
    for (attached, status, _) in &rows {
        let place = match (status.size, status.holders.first()) {
            (Some(size), Some(_)) if status.here == size => "here and on a cloud peer",
            (Some(size), None) if status.here == size => "only here",
            (_, Some(_)) => "on a cloud peer",
            _ => "not here",
        };
        let name = one_line(attached.name.as_deref().unwrap_or("(no name)"), 60);
        let kind = one_line(&attached.media_type, 40);
        output.text(&format!(
            "{}  {name}  {kind}  {} bytes  {place}",
            attached.id.short(),
            attached.size
        ));
    }
    if rows.is_empty() {
        output.note("nothing is attached to this entry: journal attach ENTRY FILE");
    }
    Ok(())
}

/// Writes an attachment into a folder, under its name; never over a file that is there, and nowhere else, whatever it is called.
async fn save_in(pod: &Pod, attached: &AttachmentRef, dir: &Path, deadline: Duration) -> Result<PathBuf, Failure> {
    let name = attached.name.as_deref().map(Path::new).and_then(Path::file_name);
    let name = name.map(|name| name.to_string_lossy().replace(['/', '\\', '\0', ':'], "_"));
    let name = name.filter(|name| !name.starts_with('.'));
    let name = match name {
        Some(name) => format!("{}-{name}", attached.id.short()),
        None => attached.id.short(),
    };
    let file = dir.join(name);
    let failed = system("cannot write the attachment");
    std::fs::create_dir_all(dir).map_err(&failed)?;
    let target = OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(&file)
        .map_err(&failed)?;
    let written = pod.export_attachment(attached, target, deadline, None).await;
    if written.is_err() {
        // What is there of it is not all.
        let _ = std::fs::remove_file(&file);
    }
    written?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_goes_by_the_ending() {
        assert_eq!(type_of(Path::new("a/Photo.JPG")), "image/jpeg");
        assert_eq!(type_of(Path::new("a")), "application/octet-stream");
    }
}
