/** Keeps pieces of a body in about as much memory as they have bytes, however small the pieces are. */

/** A piece of fewer bytes is copied: as an object it takes some hundred bytes more. */
const SMALL = 1024;
/** Blocks grow with what is there, so that a short body does not hold a long block. */
const LARGEST_BLOCK = 16_384;

/** A class, because there is one for each request that has a body. */
export class ByteCollector {
  private readonly pieces: Buffer[] = [];
  /** Where small pieces are copied to; it follows the other pieces as far as it is filled. */
  private block: Buffer | undefined = undefined;
  private filled = 0;
  private length = 0;

  add(piece: Buffer): void {
    this.length += piece.length;
    // Most bodies are one piece.
    if (piece.length >= SMALL || this.length === piece.length) {
      this.closeBlock();
      this.pieces.push(piece);
      return;
    }
    if (this.block !== undefined && this.filled + piece.length > this.block.length) this.closeBlock();
    this.block ??= Buffer.allocUnsafeSlow(Math.min(LARGEST_BLOCK, Math.max(SMALL, this.length)));
    this.filled += piece.copy(this.block, this.filled);
  }

  /** All of them in one. */
  whole(): Buffer {
    this.closeBlock();
    const [first] = this.pieces;
    return this.pieces.length === 1 && first !== undefined ? first : Buffer.concat(this.pieces, this.length);
  }

  private closeBlock(): void {
    if (this.block !== undefined) this.pieces.push(this.block.subarray(0, this.filled));
    this.block = undefined;
    this.filled = 0;
  }
}
