# For the scripts beside this file, which put it before their own programs.

# The median of numbers with spaces between them; 0 when there are none.
function median(text,    parts, count, i, j, t) {
  count = split(text, parts, " ")
  for (i = 2; i <= count; i++)
    for (j = i; j > 1 && parts[j - 1] + 0 > parts[j] + 0; j--) {
      t = parts[j]; parts[j] = parts[j - 1]; parts[j - 1] = t
    }
  if (count == 0) return 0
  return count % 2 ? parts[(count + 1) / 2] + 0 : (parts[count / 2] + parts[count / 2 + 1]) / 2
}
