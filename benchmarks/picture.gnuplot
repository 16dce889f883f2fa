# Times relative to EigenNorm's, for one thread: a panel for each layer, a line for each row of the table, a mark for
# each system. Bars go from EigenNorm to the best of the others. Variables: data, picture.
set datafile separator "\t"
stats data using 3 nooutput
panels = STATS_blocks
rows = STATS_records
array names[panels]
array counts[panels]
do for [i = 1:panels] {
  stats data index i - 1 using (name = strcol(1), $3) nooutput
  names[i] = name
  counts[i] = STATS_records
}

# In pixels: a row, a panel's title, the picture's title and key, the last scale.
row = 16.0
above = 34.0
top = 84.0
below = 30.0
height = top + rows * row + panels * above + below

set terminal svg size 1000,height dynamic background "white" font "sans,12"
set output picture
set multiplot title "Time of other systems, where EigenNorm takes 1 (one thread)\n\
{/*0.85 Bars go to the best of them: to the right EigenNorm is ahead, to the left another is. The scale ends at 1/16 and 16.}" \
  font ",15"
set logscale x 2
set xrange [1.0 / 16.8:16.8]
set lmargin at screen 0.4
set rmargin at screen 0.98
set grid xtics lc rgb "#cccccc"
set border 0
set tics scale 0
set arrow 1 from 1, graph 0 to 1, graph 1 nohead lc rgb "#1b6ac9" lw 2 front
set style fill solid noborder
unset key
cut(time) = time > 16 ? 16 : time < 1.0 / 16 ? 1.0 / 16 : time
# What is not there is off the scale, since gnuplot warns of plots without a point.
mark(column) = valid(column) ? cut(column(column)) : 99
ahead = 0xa9cbf0
behind = 0xf2a79b

# Points: type, size and color of each system.
array systems[4] = ["Eigen loop", "libtorch", "oneDNN", "a copy"]
array types[4] = [7, 5, 9, 2]
array sizes[4] = [0.7, 0.6, 0.8, 0.5]
array colors[4] = [0xe08a00, 0xb01030, 0x222222, 0x888888]
do for [i = 1:4] {
  set label i + 1 systems[i] at screen 0.24 + 0.15 * i, screen 1 - 64.0 / height \
    point pt types[i] ps sizes[i] lc rgb colors[i] offset 1, -0.25
}
set label 6 "{/:Bold |}  EigenNorm" at screen 0.24, screen 1 - 64.0 / height textcolor rgb "#1b6ac9"

from = top
do for [i = 1:panels] {
  set tmargin at screen 1 - (from + above * 0.7) / height
  set bmargin at screen 1 - (from + above * 0.7 + counts[i] * row) / height
  set label 1 names[i] at screen 0.02, screen 1 - (from + above * 0.35) / height font ",14"
  set yrange [-counts[i] + 0.4:0.6]
  set format x (i == panels ? "%g" : "")
  plot data index i - 1 using (1):(-$0):(1):(cut($3)):(-$0 - 0.4):(-$0 + 0.4):($3 < 1 ? behind : ahead) \
      with boxxyerror fc rgb variable, \
    "" index i - 1 using (mark(4)):(-$0):ytic(2) with points pt types[4] ps sizes[4] lc rgb colors[4], \
    for [j = 1:3] "" index i - 1 using (mark(4 + j)):(-$0) with points pt types[j] ps sizes[j] lc rgb colors[j]
  do for [j = 2:6] { unset label j }  # the key is drawn once
  from = from + above + counts[i] * row
}
unset multiplot
