// Every sentence that the page's script shows.

export const TEXT = {
  noAnswer: "The service does not answer. Check the connection and try again.",
  imageGone: "The service no longer has this image. Choose it again.",
  failed: (status) => `The service failed with status ${status}. Try again.`,
  tooLarge: (size, limit) => `The image is too large: ${size} MB, and the limit is ${limit} MB. Make it smaller and try again.`,
  emptyFile: "This file is empty. Choose an image.",
  folder: "This is a folder. Drop a single image.",
  notAFile: "This is not a file. Save the image first, then drop it here.",
  emptyClipboard: "There is no image in the clipboard. Copy one and paste it here.",
  pageFailed: "Something went wrong on this page.",
  sending: (sent, total) => `Sending: ${sent} of ${total} MB`,
  waiting: "Waiting for the art",
  sent: "Sent. Waiting for the art",
  done: (columns, rows, seconds) => `${columns} × ${rows} characters in ${seconds} s`,
  cancelled: "Cancelled.",
  copied: "Copied.",
  title: (columns, rows) => `ASCII art, ${columns} × ${rows}`,
  artLabel: (name, columns, rows) => `ASCII art of ${name}, ${columns} columns wide and ${rows} lines high`,
  sampleName: "a cup of coffee",
  pastedName: "the pasted image",
  permalinkName: "an image",
};
