// What is known of the current picture.

class Details {
  /** `onPick` is called to pick, `onLevel` with a place of `levels`. */
  constructor(aside, picks, { onPick, onLevel }) {
    Object.assign(this, { aside, picks, onPick, onLevel });
    this.level = 0;
    this.picture = null;
    this.waiting = false;
  }

  show(picture) {
    this.picture = picture;
    this.later();
  }

  setLevel(level) {
    this.level = level;
    this.later();
  }

  /** Renders before the next frame, once for many changes. */
  later() {
    if (this.waiting) return;
    this.waiting = true;
    requestAnimationFrame(() => {
      this.waiting = false;
      this.render();
    });
  }

  render() {
    const { picture } = this;
    if (!picture) {
      this.aside.replaceChildren();
      return;
    }
    // A button that had the focus gets it again.
    const focused = this.aside.contains(document.activeElement) ? document.activeElement.dataset.name : undefined;
    this.aside.replaceChildren(
      element("h2", {}, title(picture)),
      this.thumbnail(this.level, matchMedia("(max-width: 760px)").matches ? 128 : 256, "large"),
      this.pickButton(),
      this.levelButtons(),
      this.facts(),
      element("h3", {}, "Settings"),
      element("p", { className: "settings" }, picture.parameters || "the bundle's"),
      element("h3", {}, "Files"),
      element("ul", {}, ...picture.files.map(([level, path]) => this.file(level, path))),
      ...this.tokens(),
    );
    if (focused) this.aside.querySelector(`[data-name="${focused}"]`)?.focus();
  }

  /** A picture over a checkerboard. */
  thumbnail(level, size, kind) {
    const inner = element("div");
    inner.style.width = inner.style.height = `${size}px`;
    showThumbnail(inner.style, this.picture, level, size);
    return element("div", { className: `shown ${kind}` }, inner);
  }

  pickButton() {
    const picked = this.picks.has(this.picture);
    const button = element("button", { type: "button", className: picked ? "" : "main" }, picked ? "★ Picked: remove" : "☆ Pick");
    button.dataset.name = "pick";
    button.ariaPressed = `${picked}`;
    button.onclick = () => this.onPick(this.picture);
    return button;
  }

  levelButtons() {
    const buttons = levels.map((level, place) => {
      if (!(this.picture.shown & (1 << level.bit))) return null;
      const button = element("button", { type: "button" }, this.thumbnail(place, 48, "step"), `${level.level} px`);
      button.dataset.name = `level-${place}`;
      button.ariaPressed = `${place === this.level}`;
      button.ariaLabel = `Level ${level.level} pixels`;
      button.onclick = () => this.onLevel(place);
      return button;
    });
    const group = element("div", { className: "levels", role: "group" }, ...buttons.filter((button) => button));
    group.ariaLabel = "Levels, coarse to fine";
    return group;
  }

  facts() {
    const { picture } = this;
    const facts = [
      ["Number", picture.number],
      ["Class", picture.className],
      ["Seed", picture.seed],
      ["Row", picture.row],
      ["Tags", picture.tags.join(", ") || "none"],
      ["Log-probability", picture.logProbability === null ? "unknown" : picture.logProbability.toFixed(2)],
    ];
    return element("dl", { className: "facts" }, ...facts.flatMap(([name, value]) => [element("dt", {}, name), element("dd", {}, `${value}`)]));
  }

  file(level, path) {
    const link = element("a", { href: path.split("/").map(encodeURIComponent).join("/"), target: "_blank" }, path);
    return element("li", {}, link, ` ${level} px`);
  }

  tokens() {
    const tokens = tokensOf(this.picture);
    const text = element("code", { className: "tokens", tabIndex: 0 }, tokens.join(" "));
    text.ariaLabel = "Tokens";
    const copy = element("button", { type: "button" }, "Copy tokens");
    copy.dataset.name = "copy";
    copy.onclick = async () => {
      try {
        await navigator.clipboard.writeText(tokens.join(" "));
        copy.textContent = "Copied";
      } catch {
        // Some browsers allow no clipboard to pages from disk.
        getSelection().selectAllChildren(text);
        copy.textContent = "Selected: copy it";
      }
    };
    return [element("h3", {}, `${tokens.length} tokens`), text, copy];
  }
}
