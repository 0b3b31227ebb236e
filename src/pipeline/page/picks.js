// The pictures that were picked, by number: those of the other pages of the job too.

class Picks {
  constructor(job) {
    this.job = job;
    this.key = `detailflow-picks:${job}`;
    this.numbers = new Set();
    this.listeners = [];
    this.read();
    // Another page of the job in another tab.
    addEventListener("storage", (event) => {
      if (event.key === this.key) {
        this.read();
        this.changed();
      }
    });
  }

  get size() {
    return this.numbers.size;
  }

  has(picture) {
    return this.numbers.has(picture.number);
  }

  toggle(picture) {
    if (!this.numbers.delete(picture.number)) this.numbers.add(picture.number);
    this.keep();
  }

  clear() {
    this.numbers.clear();
    this.keep();
  }

  /** Adds the picks of a saved list. Returns how many it has; an error says why it is none. */
  add(text) {
    let list;
    try {
      list = JSON.parse(text);
    } catch {
      throw new Error("the file is not JSON");
    }
    const numbers = list?.picks;
    if (list?.format !== 1 || !Array.isArray(numbers)) throw new Error("the file is not a list of picks of format 1");
    if (list.job !== this.job) throw new Error("the picks are those of another job");
    if (!numbers.every((number) => Number.isSafeInteger(number) && number >= 0)) {
      throw new Error("the picks are not all numbers of pictures");
    }
    for (const number of numbers) this.numbers.add(number);
    this.keep();
    return numbers.length;
  }

  /** The list as it is saved. */
  text() {
    const picks = [...this.numbers].sort((a, b) => a - b);
    return `${JSON.stringify({ format: 1, job: this.job, picks })}\n`;
  }

  read() {
    try {
      this.numbers = new Set(JSON.parse(localStorage.getItem(this.key) ?? "[]"));
    } catch {
      // Without storage, or with damaged storage, picks last as long as the page.
      this.numbers = new Set();
    }
  }

  keep() {
    try {
      localStorage.setItem(this.key, JSON.stringify([...this.numbers]));
    } catch {
      // As above.
    }
    this.changed();
  }

  changed() {
    for (const listener of this.listeners) listener();
  }
}
