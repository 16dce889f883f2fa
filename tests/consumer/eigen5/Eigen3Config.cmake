# Stands for an installed Eigen 5: its version numbers and its refusal of others, with the headers of the real one.
add_library(Eigen3::Eigen INTERFACE IMPORTED)
target_include_directories(Eigen3::Eigen INTERFACE ${EIGEN_INCLUDE})
