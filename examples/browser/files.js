// Files that a person chose or dropped, with their paths: which are photos, and what is left out.

// Those of `seesay classify` that browsers decode, and its others, which are then told as photos that could not be read.
const SUFFIXES = new Set([
  "jpg", "jpeg", "jpe", "jfif", "png", "webp", "gif", "avif", "bmp", "dib",
  "tif", "tiff", "jp2", "j2k", "jpx", "heic", "heif", "hif", "dng", "cr2", "cr3", "nef", "arw", "raf", "orf", "rw2",
]);

export const byPath = (one, other) => (one.path < other.path ? -1 : 1);

// [{path, file}] of an <input type="file">.
export function chosenFiles(files) {
  return [...files].map((file) => ({ path: file.webkitRelativePath || file.name, file })).sort(byPath);
}

// The photos, how many other files there are, and how many are hidden or in hidden folders.
export function onlyPhotos(files) {
  const isHidden = ({ path }) => path.split("/").some((part) => part.startsWith("."));
  const isPhoto = ({ path }) => SUFFIXES.has(path.split(".").pop().toLowerCase());
  const seen = files.filter((each) => !isHidden(each));
  const photos = seen.filter(isPhoto);
  return { photos, others: seen.length - photos.length, hidden: files.length - seen.length };
}

// {files, unread} of a drop, folders with all below them; `unread` are {path, reason}.
export async function droppedFiles(transfer) {
  // All entries first: the list is empty once the event has been handled.
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  const files = [], unread = [];
  for (const entry of entries) await walk(entry, files, unread);
  return { files: files.sort(byPath), unread };
}

async function walk(entry, files, unread) {
  const path = entry.fullPath.replace(/^\//, "");
  try {
    if (entry.isFile) return files.push({ path, file: await new Promise((done, refuse) => entry.file(done, refuse)) });
    const reader = entry.createReader();
    for (;;) {
      // A folder is given some entries at a time, and none at its end.
      const some = await new Promise((done, refuse) => reader.readEntries(done, refuse));
      if (!some.length) return null;
      for (const each of some) await walk(each, files, unread);
    }
  } catch (error) {
    return unread.push({ path, reason: error.message });
  }
}
