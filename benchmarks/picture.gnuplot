# Bars of the ratios to the better copy, for one thread. Variables: data, picture.
set terminal svg size 1500,760 dynamic background "white" font "sans,13"
set output picture
set datafile separator "\t"
set datafile missing "NaN"
set datafile columnheaders
set style data histogram
set style histogram clustered gap 1
set style fill solid border rgb "white"
set boxwidth 1
set logscale y 2
set yrange [0.5:16]
set grid ytics lc rgb "#dddddd"
set ylabel "time, as a multiple of the better copy of the same bytes (log scale, cut at 16)"
set title "One thread: less is better; 1 is a copy"
set xtics rotate by 40 right font ",10" noenhanced
set key outside top right horizontal
set bmargin 13
set lmargin 14

plot for [name in '"EigenNorm" "Eigen loop" "libtorch" "oneDNN"'] data using (column(name) > 16 ? 16 : column(name)):xtic(1) \
  title name lc rgb (name eq "EigenNorm" ? "#1b6ac9" : name eq "Eigen loop" ? "#f0a030" : name eq "libtorch" ? "#d0503c" : "#7a7a7a")
