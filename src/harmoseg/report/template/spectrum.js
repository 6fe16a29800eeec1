"use strict";
// The discrete Fourier transform of a mask, of any size, and what the report shows of it.

const Spectrum = (() => {
  /** Find the largest divisor of n that is not above its square root: 1 where n is a prime. */
  function divisor(n) {
    let p = Math.floor(Math.sqrt(n));
    while (n % p) p -= 1;
    return p;
  }

  /**
   * Make the transform of length n: from (re, im) into (re, im).
   *
   * n = p m: p transforms of length m, put together at n (p + m) products instead of n n.
   */
  function makeTransform(n) {
    const p = divisor(n), m = n / p;
    const cos = new Float64Array(n), sin = new Float64Array(n);
    for (let i = 0; i < n; i++) {
      cos[i] = Math.cos((2 * Math.PI * i) / n);
      sin[i] = -Math.sin((2 * Math.PI * i) / n);
    }
    const partRe = new Float64Array(n), partIm = new Float64Array(n);
    return (re, im) => {
      for (let r = 0; r < p; r++) {
        for (let k = 0; k < m; k++) {
          let sumRe = 0, sumIm = 0;
          // The angle is an exact index into the table: no error grows along a row.
          for (let j = 0, angle = 0, i = r; j < m; j++, i += p) {
            sumRe += re[i] * cos[angle] - im[i] * sin[angle];
            sumIm += re[i] * sin[angle] + im[i] * cos[angle];
            angle += p * k;
            if (angle >= n) angle -= n;
          }
          partRe[r * m + k] = sumRe;
          partIm[r * m + k] = sumIm;
        }
      }
      for (let k = 0; k < n; k++) {
        let sumRe = 0, sumIm = 0;
        for (let r = 0, angle = 0, i = k % m; r < p; r++, i += m) {
          sumRe += partRe[i] * cos[angle] - partIm[i] * sin[angle];
          sumIm += partRe[i] * sin[angle] + partIm[i] * cos[angle];
          angle += k;
          if (angle >= n) angle -= n;
        }
        re[k] = sumRe;
        im[k] = sumIm;
      }
    };
  }

  /**
   * Give log(1 + |P|) of a mask (height * width, row by row), the zero frequency in the middle.
   *
   * |P| is the magnitude of the unscaled transform, as in harmoseg.spectrum.log_magnitude.
   */
  function logMagnitude(mask, height, width) {
    const half = Math.floor(width / 2) + 1;
    const columnsRe = new Float64Array(half * height), columnsIm = new Float64Array(half * height);
    const alongRow = makeTransform(width), alongColumn = makeTransform(height);
    const re = new Float64Array(width), im = new Float64Array(width);
    for (let y = 0; y < height; y++) {
      const row = mask.slice(y * width, (y + 1) * width);
      if (!row.some((value) => value)) continue;
      re.set(row);
      im.fill(0);
      alongRow(re, im);
      for (let x = 0; x < half; x++) {
        columnsRe[x * height + y] = re[x];
        columnsIm[x * height + y] = im[x];
      }
    }
    const map = new Float64Array(height * width);
    const middleY = Math.floor(height / 2), middleX = Math.floor(width / 2);
    for (let x = 0; x < half; x++) {
      const columnRe = columnsRe.subarray(x * height, (x + 1) * height);
      const columnIm = columnsIm.subarray(x * height, (x + 1) * height);
      alongColumn(columnRe, columnIm);
      for (let y = 0; y < height; y++) {
        const value = Math.log1p(Math.hypot(columnRe[y], columnIm[y]));
        map[((y + middleY) % height) * width + ((x + middleX) % width)] = value;
        // The other half of a real mask's spectrum is its mirror image.
        const mirrorY = (height - y + middleY) % height, mirrorX = (width - x + middleX) % width;
        map[mirrorY * width + mirrorX] = value;
      }
    }
    return map;
  }

  /** Give Pearson's r of two maps, or null where one is flat, as that of an empty mask is. */
  function correlation(a, b) {
    const n = a.length;
    let meanA = 0, meanB = 0, squaresA = 0, squaresB = 0;
    for (let i = 0; i < n; i++) {
      meanA += a[i] / n;
      meanB += b[i] / n;
      squaresA += a[i] * a[i];
      squaresB += b[i] * b[i];
    }
    let both = 0, spreadA = 0, spreadB = 0;
    for (let i = 0; i < n; i++) {
      both += (a[i] - meanA) * (b[i] - meanB);
      spreadA += (a[i] - meanA) ** 2;
      spreadB += (b[i] - meanB) ** 2;
    }
    // Below this share all a map varies by is rounding.
    if (spreadA <= 1e-20 * squaresA || spreadB <= 1e-20 * squaresB) return null;
    return both / Math.sqrt(spreadA * spreadB);
  }

  return { logMagnitude, correlation };
})();
