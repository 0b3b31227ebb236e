// The grid: only the pictures in view have elements.

/** Height of a section's name, and space between and around pictures, in pixels. */
const [SECTION, GAP, MARGIN] = [38, 6, 14];
/** The most elements of pictures: rendering so many takes a slow machine less than 50 ms. */
const MOST = 800;

class Grid {
  /** `picks` tells which are picked; `onCurrent` is called with another current picture, `onPick` with one to be picked. */
  constructor(scroll, canvas, picks, { onCurrent, onPick }) {
    Object.assign(this, { scroll, canvas, picks, onCurrent });
    this.size = 96;
    this.level = 0;
    this.sections = [];
    /** Shown pictures in order, the row of each, and the rows from top to bottom. */
    [this.pictures, this.rowOf, this.rows] = [[], [], []];
    this.current = -1;
    /** Elements in use by row and picture, and those to be used again. */
    [this.used, this.free] = [new Map(), { picture: [], section: [] }];
    this.waiting = false;
    scroll.addEventListener("scroll", () => this.later(), { passive: true });
    new ResizeObserver(() => this.resize()).observe(scroll);
    canvas.addEventListener("click", (event) => {
      const node = event.target.closest(".picture");
      if (!node) return;
      this.go(node.place);
      const box = node.getBoundingClientRect();
      const corner = node.classList.contains("small") ? 16 : 24;
      const onStar = event.clientX > box.right - corner && event.clientY < box.top + corner;
      if (onStar || event.ctrlKey || event.metaKey) onPick(this.pictures[node.place]);
    });
    canvas.addEventListener("dblclick", (event) => {
      const node = event.target.closest(".picture");
      if (node) onPick(this.pictures[node.place]);
    });
  }

  /** Shows these sections; the current picture stays if it is among them. */
  show(sections) {
    const before = this.pictures[this.current];
    this.sections = sections;
    this.pictures = sections.flatMap((section) => section.pictures);
    this.current = before ? this.pictures.indexOf(before) : -1;
    if (this.current < 0 && this.pictures.length) this.current = 0;
    const kept = before && this.pictures[this.current] === before;
    this.layOut();
    if (kept) this.reveal();
    else this.scroll.scrollTop = 0;
    this.redraw();
    this.onCurrent(this.pictures[this.current]);
  }

  setSize(size) {
    this.size = size;
    this.resize();
  }

  setLevel(level) {
    this.level = level;
    this.redraw();
  }

  /** After a change of width or of the size of pictures: the picture at the top stays there. */
  resize() {
    const top = this.rows[this.rowAt(this.scroll.scrollTop)];
    const place = top?.first;
    this.layOut();
    if (place !== undefined && this.scroll.scrollTop > 0) this.scroll.scrollTop = this.rows[this.rowOf[place]].top - GAP;
    this.redraw();
  }

  /** Computes the rows. */
  layOut() {
    const [width, height] = [this.scroll.clientWidth, this.scroll.clientHeight];
    const columnsOf = (size) => Math.max(1, Math.floor((width - 2 * MARGIN + GAP) / (size + GAP)));
    this.side = this.size;
    // Large windows show no smaller pictures than so many elements allow.
    while (columnsOf(this.side) * (Math.ceil(height / (this.side + GAP)) + 3) > MOST) this.side += 4;
    this.columns = columnsOf(this.side);
    // In the middle of what is left.
    this.left = Math.floor((width - this.columns * (this.side + GAP) + GAP) / 2);
    this.rows = [];
    this.rowOf = new Int32Array(this.pictures.length);
    let [top, place] = [GAP, 0];
    for (const section of this.sections) {
      if (section.name) {
        this.rows.push({ top, height: SECTION, section, first: place, count: 0 });
        top += SECTION;
      }
      for (const end = place + section.pictures.length; place < end; ) {
        const count = Math.min(this.columns, end - place);
        this.rowOf.fill(this.rows.length, place, place + count);
        this.rows.push({ top, height: this.side, first: place, count });
        top += this.side + GAP;
        place += count;
      }
    }
    this.canvas.style.height = `${top + MARGIN}px`;
  }

  /** The row that covers `y`, or the one above. */
  rowAt(y) {
    let [low, high] = [0, this.rows.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.rows[middle].top + this.rows[middle].height < y) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  /** Renders before the next frame. */
  later() {
    if (this.waiting) return;
    this.waiting = true;
    requestAnimationFrame(() => {
      this.waiting = false;
      this.render();
    });
  }

  /** Renders everything in view again. */
  redraw() {
    for (const node of this.used.values()) this.release(node);
    this.used.clear();
    this.later();
  }

  release(node) {
    this.free[node.kind].push(node);
  }

  /** Gives elements to what is in view. */
  render() {
    const top = this.scroll.scrollTop - this.side;
    const bottom = this.scroll.scrollTop + this.scroll.clientHeight + this.side;
    const wanted = new Map();
    for (let at = this.rowAt(top); at < this.rows.length && this.rows[at].top < bottom; at += 1) {
      const row = this.rows[at];
      if (row.section) wanted.set(`s${at}`, row);
      for (let place = row.first; place < row.first + row.count; place += 1) wanted.set(place, row);
    }
    for (const [key, node] of this.used) {
      if (!wanted.has(key)) {
        this.release(node);
        this.used.delete(key);
      }
    }
    for (const [key, row] of wanted) {
      if (!this.used.has(key)) this.used.set(key, row.section ? this.sectionNode(row) : this.pictureNode(key, row));
    }
    for (const nodes of Object.values(this.free)) {
      for (const node of nodes) Object.assign(node, { hidden: true, id: "", className: node.kind });
    }
    const shown = this.used.get(this.current);
    if (shown) this.scroll.setAttribute("aria-activedescendant", shown.id);
    else this.scroll.removeAttribute("aria-activedescendant");
  }

  /** An element that is free, or a new one. */
  take(kind, role) {
    const node = this.free[kind].pop() ?? this.canvas.appendChild(element("div", { className: kind, kind, role }));
    node.hidden = false;
    return node;
  }

  sectionNode(row) {
    const node = this.take("section", "presentation");
    node.textContent = `${row.section.name} — ${row.section.pictures.length.toLocaleString("en")}`;
    node.style.transform = `translateY(${row.top}px)`;
    node.style.paddingLeft = `${this.left}px`;
    return node;
  }

  pictureNode(place, row) {
    const node = this.take("picture", "option");
    const [picture, side] = [this.pictures[place], this.side];
    node.place = place;
    node.id = `picture-${picture.number}`;
    node.ariaLabel = [title(picture), ...picture.tags].join(", ");
    node.ariaPosInSet = `${place + 1}`;
    node.ariaSetSize = `${this.pictures.length}`;
    const { style } = node;
    style.width = style.height = `${side}px`;
    style.transform = `translate(${this.left + (place - row.first) * (side + GAP)}px, ${row.top}px)`;
    showThumbnail(style, picture, this.level, side);
    this.mark(node);
    return node;
  }

  /** Shows whether a picture is picked or current. */
  mark(node) {
    const picked = this.picks.has(this.pictures[node.place]);
    node.ariaSelected = `${picked}`;
    node.className = `picture${picked ? " picked" : ""}${node.place === this.current ? " current" : ""}${this.side < 64 ? " small" : ""}`;
  }

  /** After picks changed. */
  markAll() {
    for (const node of this.used.values()) if (node.kind === "picture") this.mark(node);
  }

  /** Makes another picture the current one, and brings it into view. */
  go(place) {
    if (!this.pictures.length) return;
    const before = this.used.get(this.current);
    this.current = Math.min(Math.max(place, 0), this.pictures.length - 1);
    this.reveal();
    for (const node of [before, this.used.get(this.current)]) if (node) this.mark(node);
    this.later();
    this.onCurrent(this.pictures[this.current]);
  }

  /** Scrolls as little as shows the current picture, and the name of its section above the first row. */
  reveal() {
    const at = this.rowOf[this.current];
    const row = this.rows[at];
    if (!row) return;
    const above = this.rows[at - 1]?.section ? this.rows[at - 1].top : row.top - GAP;
    const bottom = row.top + row.height + GAP;
    if (above < this.scroll.scrollTop) this.scroll.scrollTop = above;
    else if (bottom > this.scroll.scrollTop + this.scroll.clientHeight) this.scroll.scrollTop = bottom - this.scroll.clientHeight;
  }

  /** The picture above or below (`by` rows), in the same column where there is one. */
  goRows(by) {
    if (!this.pictures.length) return;
    let at = this.rowOf[this.current];
    const column = this.current - this.rows[at].first;
    for (let left = Math.abs(by); left > 0; ) {
      const next = at + Math.sign(by);
      const beyond = this.rows[next]?.section ? next + Math.sign(by) : next;
      if (!this.rows[beyond]) break;
      at = beyond;
      left -= 1;
    }
    this.go(this.rows[at].first + Math.min(column, this.rows[at].count - 1));
  }

  /** Rows on a screen. */
  get screen() {
    return Math.max(1, Math.floor(this.scroll.clientHeight / (this.side + GAP)) - 1);
  }
}
