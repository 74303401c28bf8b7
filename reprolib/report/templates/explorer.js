"use strict";
(async () => {
  const SIZE = 32, FACTORS = ["shape", "texture", "background"];
  const at = (id) => document.getElementById(id);
  const { readers, cgns } = JSON.parse(at("explored").textContent);
  const bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));

  async function sheet(address) {
    const picture = new Image(), canvas = document.createElement("canvas");
    picture.src = address;
    await picture.decode();
    [canvas.width, canvas.height] = [picture.width, picture.height];
    const drawn = canvas.getContext("2d", { willReadFrequently: true });
    drawn.drawImage(picture, 0, 0);
    return drawn;
  }

  for (const cgn of cgns) {
    cgn.sheets = await Promise.all([cgn.mask, cgn.foreground, cgn.background].map(sheet));
    [cgn.predicted, cgn.confidence] = [bytes(cgn.predicted), bytes(cgn.confidence)];
  }

  function show() {
    const cgn = cgns[at("cgn").selectedIndex], labels = FACTORS.map((factor) => +at(factor).value);
    const latent = at("latent").value - 1;
    const tile = (drawn, i) => drawn.getImageData(SIZE * labels[i], SIZE * latent, SIZE, SIZE);
    const [m, f, b] = cgn.sheets.map(tile), x = new ImageData(SIZE, SIZE);
    for (let i = 0; i < x.data.length; i++) // all four channels: where masks and textures are opaque, so is x
      x.data[i] = Math.round((m.data[i] * f.data[i] + (255 - m.data[i]) * b.data[i]) / 255);
    for (const [id, pixels] of Object.entries({ m, f, b, x })) at(id).getContext("2d").putImageData(pixels, 0, 0);
    for (const id of [...FACTORS, "latent"]) document.querySelector(`[for=${id}] b`).textContent = at(id).value;
    tell(cgn, labels, latent);
  }

  function tell(cgn, labels, latent) {
    const said = readers.map((reader, number) => {
      const place = labels.reduce((sum, label) => 10 * sum + label, number * cgn.latents + latent);
      const digit = cgn.predicted[place], same = FACTORS.filter((_, i) => labels[i] === digit);
      const whose = same.length ? `the label of the ${same.join(" and the ")}` : "none of the three labels";
      return `The classifier trained on ${reader} says ${digit} with ${cgn.confidence[place]} % confidence: ${whose}.`;
    });
    const seen = `The shape of a ${labels[0]}, the texture of a ${labels[1]}, the background of a ${labels[2]}.`;
    at("said").replaceChildren(...[seen, ...said].map((text) => {
      const line = document.createElement("p");
      line.textContent = text;
      return line;
    }));
  }

  for (const id of ["cgn", ...FACTORS, "latent"]) at(id).addEventListener("input", show);
  show();
  at("explore").hidden = false;
  at("explorer").hidden = true;
})();
