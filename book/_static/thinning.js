// Rates of the recommended generator and exact simulation of its jumps, as in scoehr/thinning.py.
// A patient is a Map from the number of a code to its count; every number is as in Python.
"use strict";

const thinning = (() => {
  const MAX_LEVEL = 1 - 1e-3; // the largest level that exact sampling visits
  const LEVELS = 33, MAX_THINNED = 15; // of the table of marginal rates
  const IMPOSSIBLE = -30, MAX_FACTOR = 12; // log factors, as RateModel has them
  const FREQUENCIES = Array.from({ length: 32 }, (_, i) => 1e4 ** (-i / 31)); // of an embedding
  const EPSILON = 1e-5; // of layer normalisation

  // The model file -------------------------------------------------------------------------------

  /** The tensors of a model file by name: {data, shape}. A matrix of weights is kept there as whole
   *  numbers of 16 bits, which times the scale of their row are the weights. */
  async function unpack(model) {
    const packed = Uint8Array.from(atob(model.bytes), (letter) => letter.charCodeAt(0));
    const unzip = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
    const bytes = await new Response(unzip).arrayBuffer();
    const tensors = {};
    let offset = 0;
    for (const [name, type, ...shape] of model.tensors) {
      const size = shape.reduce((product, side) => product * side, 1);
      const Numbers = { float32: Float32Array, int32: Int32Array, int16: Int16Array }[type];
      const data = new Numbers(bytes, offset, size), scale = tensors[`${name}.scale`]?.data;
      tensors[name] = { data: scale ? scaled(data, scale) : data, shape };
      offset += size * Numbers.BYTES_PER_ELEMENT;
    }
    return tensors;
  }

  function scaled(data, scale) {
    const found = new Float32Array(data.length), width = data.length / scale.length;
    for (let i = 0; i < data.length; i++) found[i] = data[i] * scale[Math.floor(i / width)];
    return found;
  }

  // Layers ---------------------------------------------------------------------------------------

  const silu = (v) => v.map((value) => value / (1 + Math.exp(-value)));

  /** The product of row i of a matrix and a vector. */
  function dot({ data, shape }, i, v) {
    let found = 0;
    for (let j = 0, at = i * shape[1]; j < v.length; j++) found += data[at + j] * v[j];
    return found;
  }

  /** The product of a matrix and a vector, plus a bias; four rows at once take half the time. */
  function linear({ weight, bias }, v) {
    const found = bias.data.slice(), data = weight.data, n = v.length;
    let i = 0;
    for (; i + 3 < found.length; i += 4) {
      let a = 0, b = 0, c = 0, d = 0;
      for (let j = 0, at = i * n; j < n; j++, at++) {
        a += data[at] * v[j];
        b += data[at + n] * v[j];
        c += data[at + 2 * n] * v[j];
        d += data[at + 3 * n] * v[j];
      }
      found[i] += a;
      found[i + 1] += b;
      found[i + 2] += c;
      found[i + 3] += d;
    }
    for (; i < found.length; i++) found[i] += dot(weight, i, v);
    return found;
  }

  /** h (1 + scale) + shift, the two being the halves of a vector. */
  const modulated = (h, halves) =>
    h.map((value, i) => value * (1 + halves[i]) + halves[h.length + i]);

  function normalised(h) {
    const mean = h.reduce((sum, value) => sum + value, 0) / h.length;
    const variance = h.reduce((sum, value) => sum + (value - mean) ** 2, 0) / h.length;
    return h.map((value) => (value - mean) / Math.sqrt(variance + EPSILON));
  }

  /** Sines, then cosines, of a number at frequencies from 1 to 1e-4. */
  function embedding(number) {
    const angles = FREQUENCIES.map((frequency) => number * frequency);
    return [...angles.map(Math.sin), ...angles.map(Math.cos)];
  }

  // Rates ----------------------------------------------------------------------------------------

  /** log m! for m = 0 … most. */
  function logFactorials(most) {
    const found = new Float64Array(most + 1);
    for (let m = 1; m <= most; m++) found[m] = found[m - 1] + Math.log(m);
    return found;
  }

  /** Marginal log rates, of LEVELS levels by MAX_THINNED + 1 counts by codes: `marginal_rates` and
   *  the bounds of `build_tables`. */
  function marginalLogRates(countPmf) {
    const pmf = countPmf.data, [counts, codes] = countPmf.shape;
    const table = new Float32Array(LEVELS * (MAX_THINNED + 1) * codes);
    const log = logFactorials(counts);
    for (let row = 0; row < LEVELS * (MAX_THINNED + 1); row++) {
      const k = row % (MAX_THINNED + 1);
      const removal = Math.max(1 - Math.floor(row / (MAX_THINNED + 1)) / (LEVELS - 1), 1e-6);
      const total = new Float64Array(codes), removed = new Float64Array(codes);
      for (let m = k; m < counts; m++) {
        const weight = Math.exp(log[m] - log[m - k] - log[k]) * removal ** (m - k);
        for (let code = 0; code < codes; code++) {
          total[code] += weight * pmf[m * codes + code];
          removed[code] += ((weight * (m - k)) / removal) * pmf[m * codes + code];
        }
      }
      for (let code = 0; code < codes; code++) {
        let rate = total[code] > 0 ? removed[code] / total[code] : 0;
        if (k) rate = Math.min(Math.max(rate, 0.01), 5 * (k + 1));
        table[row * codes + code] = Math.log(Math.max(rate, 1e-6));
      }
    }
    return table;
  }

  class RateModel {
    /** From the tensors of a model file. */
    constructor(tensors) {
      const layer = (name) =>
        ({ weight: tensors[`network.${name}.weight`], bias: tensors[`network.${name}.bias`] });
      this.nCodes = tensors.max_count.shape[0];
      this.maxCount = tensors.max_count.data;
      this.lengths = Float64Array.from(tensors.lengths.data);
      this.logFactorials = logFactorials(this.lengths.at(-1));
      this.logLengthWeights = Float64Array.from(tensors.length_pmf.data, (share, i) =>
        Math.log(share) + this.logFactorials[this.lengths[i]]);
      this.marginal = marginalLogRates(tensors.count_pmf);
      this.time = [layer("time.0"), layer("time.2")];
      this.inProj = layer("in_proj"); // its weight has a row a code
      this.blocks = [];
      for (let i = 0; `network.modulation.${i}.weight` in tensors; i++)
        this.blocks.push({ modulation: layer(`modulation.${i}`),
                           inner: [layer(`blocks.${i}.0`), layer(`blocks.${i}.2`)] });
      this.outModulation = layer("out_modulation");
      this.outNorm = layer("out_proj.0");
      this.outProj = layer("out_proj.1");
      this.recurrence = layer("recurrence_head").weight; // weights and a bias a code
      this.countEmbedding = layer("count_embedding").weight;
      this.lengthHead = layer("length_head");
    }

    /** What the network reads in a patient: the vector, and its size and level. */
    encode(x, level) {
      const counts = [...x.values()];
      const sizes = [sum(counts), counts.length, counts.filter((count) => count > 1).length];
      const numbers = [...sizes, Math.max(0, ...counts)].map((size) => 200 * Math.log1p(size));
      const embedded = Float32Array.from([1000 * (1 - level), ...numbers].flatMap(embedding));
      const [first, second] = this.time;
      const context = silu(linear(second, silu(linear(first, embedded))));
      let h = this.inProj.bias.data.slice();
      const data = this.inProj.weight.data;
      for (const [code, count] of x) {
        const y = Math.log1p(count), at = code * h.length;
        for (let i = 0; i < h.length; i++) h[i] += y * data[at + i];
      }
      for (const { modulation, inner: [wide, narrow] } of this.blocks) {
        const input = modulated(normalised(h), linear(modulation, context));
        const change = linear(narrow, silu(linear(wide, input)));
        h = h.map((value, i) => value + change[i]);
      }
      const { weight, bias } = this.outNorm;
      h = normalised(h).map((value, i) => value * weight.data[i] + bias.data[i]);
      return { h: modulated(h, linear(this.outModulation, context)), context };
    }

    /** Log of how many occurrences are still expected. */
    logTotal(x, level, { h }) {
      const remaining = Math.log(Math.max(this.remaining(sum(x.values()), level), 1e-6));
      return remaining + Math.min(linear(this.lengthHead, h)[0], MAX_FACTOR);
    }

    /** E[|x₁| - |x_a| | |x_a|] by Bayes' rule from the distribution of lengths. */
    remaining(length, level) {
      const { lengths, logFactorials: log, logLengthWeights } = this;
      const there = Math.min(length, lengths.at(-1));
      const first = lengths.findIndex((each) => each >= there), logRemoval = Math.log1p(-level);
      const logWeights = lengths.subarray(first).map((each, i) =>
        logLengthWeights[first + i] - log[each - there] + (each - there) * logRemoval);
      const largest = logWeights.reduce((a, b) => Math.max(a, b));
      const weights = logWeights.map((value) => Math.exp(value - largest));
      return sum(weights.map((weight, i) => weight * (lengths[first + i] - there))) / sum(weights);
    }

    /** Log probabilities that the next occurrence is of each code. */
    codeLogProbs(x, level, { h, context }) {
      const log = linear(this.outProj, h);
      for (const [code, count] of x) log[code] = this.recurring(code, count, h, context);
      for (let code = 0; code < this.nCodes; code++) {
        const count = x.get(code) ?? 0;
        if (count >= this.maxCount[code]) log[code] = IMPOSSIBLE;
        else log[code] += this.marginalLogRate(code, count, level);
      }
      const largest = log.reduce((a, b) => Math.max(a, b));
      const norm = largest + Math.log(sum(log.map((value) => Math.exp(value - largest))));
      return log.map((value) => value - norm);
    }

    /** What the network says of a code that is there already. */
    recurring(code, count, h, context) {
      const bySize = dot(this.countEmbedding, Math.min(count, this.countEmbedding.shape[0] - 1),
                         context);
      const { data, shape: [, width] } = this.recurrence;
      return dot(this.recurrence, code, h) + data[code * width + width - 1] + bySize;
    }

    /** Marginal log rate of a code, interpolated between the levels of the table. */
    marginalLogRate(code, count, level) {
      const place = level * (LEVELS - 1), below = Math.min(Math.floor(place), LEVELS - 2);
      const k = Math.min(count, MAX_THINNED);
      const at = (row) => this.marginal[(row * (MAX_THINNED + 1) + k) * this.nCodes + code];
      return at(below) + (place - below) * (at(below + 1) - at(below));
    }

    /** Log rates of every code. */
    logRate(x, level) {
      const encoding = this.encode(x, level), total = this.logTotal(x, level, encoding);
      return this.codeLogProbs(x, level, encoding).map((value) => value + total);
    }
  }

  function sum(values) {
    let total = 0;
    for (const value of values) total += value;
    return total;
  }

  // Sampling -------------------------------------------------------------------------------------

  /** Uniform random numbers in [0, 1) by the generator sfc32 of PractRand; the same of one seed. */
  function randomNumbers(seed) {
    let [a, b, c, counter] = [0, Math.floor(seed / 2 ** 32), seed, 1];
    const next = () => {
      const found = (((a + b) | 0) + counter++) | 0;
      a = b ^ (b >>> 9);
      b = (c + (c << 3)) | 0;
      c = (((c << 21) | (c >>> 11)) + found) | 0;
      return found >>> 0;
    };
    for (let i = 0; i < 15; i++) next();
    return () => ((next() >>> 5) * 2 ** 26 + (next() >>> 6)) / 2 ** 53;
  }

  /** The place of a random draw in proportion to weights. */
  function draw(weights, random) {
    let left = random() * sum(weights), i = 0;
    while (i < weights.length - 1 && (left -= weights[i]) >= 0) i++;
    return i;
  }

  /** Grow a patient from one each of the codes given, as `exact_jumps` does.
   *  Returns the patient, its jumps [{level, code}], and the evaluations of the network. */
  function exactJumps(rate, given, random) {
    const x = new Map(given.map((code) => [code, 1])), jumps = [];
    let level = 0, bound = Infinity, evaluations = 0; // the bound is infinite before a proposal
    while (level < MAX_LEVEL) {
      const encoding = rate.encode(x, level), total = Math.exp(rate.logTotal(x, level, encoding));
      evaluations++;
      if (bound < Infinity && random() < total / bound) {
        const code = draw(rate.codeLogProbs(x, level, encoding).map(Math.exp), random);
        x.set(code, (x.get(code) ?? 0) + 1);
        jumps.push({ level, code });
        bound = Infinity;
      } else {
        bound = total;
        level = 1 - (1 - level) * Math.exp(Math.log1p(-random()) / total);
      }
    }
    return { x, jumps, evaluations };
  }

  /** Patients without end, grown from the codes given, as `sample_by_rejection` does: of those
   *  grown one is accepted with probability 1 over the product of the counts of these codes. */
  function* proposals(rate, given, random) {
    for (;;) {
      const grown = exactJumps(rate, given, random);
      const product = given.reduce((found, code) => found * grown.x.get(code), 1);
      yield { ...grown, accepted: random() * product < 1 };
    }
  }

  return { unpack, RateModel, randomNumbers, exactJumps, proposals };
})();
