"""MatMuls whose weights are blocks of integer codes: MatMulNBits."""
