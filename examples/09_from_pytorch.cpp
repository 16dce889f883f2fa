// A net that was trained in PyTorch: its file is read, its layers are run here, and the answers are PyTorch's.
//
// In Python the net was
//
//     net = nn.Sequential(nn.Linear(6, 16), nn.BatchNorm1d(16), nn.ReLU(),
//                         nn.Linear(16, 8), nn.BatchNorm1d(8, eps=1e-3), nn.ReLU(), nn.Linear(8, 3))
//     ...                                                              # trained
//     safetensors.torch.save_file(net.state_dict(), "mlp_bn_f32.safetensors")
//     net.eval()(x)                                                    # what is stored in the tests' data
//
// Sizes, axes and eps are code, here as there; the file has what training changed.

#include <cmath>
#include <cstdio>
#include <eigennorm/eigennorm.hpp>
#include <eigennorm/fold.hpp>
#include <eigennorm/safetensors.hpp>
#include <fstream>
#include <stdexcept>
#include <string>
#include <vector>

using namespace eigennorm;
using Rows = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

/// y = x weight^T + bias, as in PyTorch: outputs are the rows of weight.
struct Linear {
  Rows weight;
  Eigen::RowVectorXf bias;

  Linear(const SafeTensors& file, const std::string& prefix)
      : weight(file.get<Rows>(prefix + "weight")), bias(file.get<Eigen::RowVectorXf>(prefix + "bias")) {}
  Linear(const Folded<Rows, Eigen::RowVectorXf>& folded) : weight(folded.weight), bias(folded.bias) {}  // NOLINT

  Rows operator()(const Rows& x) const { return (x * weight.transpose()).rowwise() + bias; }
};

struct Net {
  Linear linear0, linear3, linear6;
  BatchNorm<float> norm1, norm4;

  explicit Net(const SafeTensors& file)
      : linear0(file, "0."), linear3(file, "3."), linear6(file, "6."), norm1(16), norm4(8, 1e-3) {
    load(norm1, file, "1.");
    load(norm4, file, "4.");
  }

  Rows evaluate(const Rows& x) const {
    const Rows h = norm1.evaluate(linear0(x)).cwiseMax(0);
    return linear6(norm4.evaluate(linear3(h)).cwiseMax(0));
  }
};

/// For use, a BatchNorm needs no pass of its own: it becomes part of the layer before it.
struct FoldedNet {
  Linear first, second, third;

  explicit FoldedNet(const Net& net)
      : first(fold(net.norm1, net.linear0.weight, net.linear0.bias)),
        second(fold(net.norm4, net.linear3.weight, net.linear3.bias)),
        third(net.linear6) {}

  Rows evaluate(const Rows& x) const { return third(second(first(x).cwiseMax(0)).cwiseMax(0)); }
};

/// Numbers from `offset` on in a file of plain floats.
Rows read_rows(const std::string& path, std::streamoff offset, Eigen::Index rows, Eigen::Index columns) {
  Rows result = Rows::Zero(rows, columns);
  std::ifstream file(path, std::ios::binary);
  file.seekg(offset);
  file.read(reinterpret_cast<char*>(result.data()), static_cast<std::streamsize>(sizeof(float)) * result.size());
  return result;
}

int main() {
  const std::string folder = std::string(EXAMPLE_DATA) + "/nets/safetensors/";
  const SafeTensors file = SafeTensors::read(folder + "files/mlp_bn_f32.safetensors");
  for (const StoredTensor& tensor : file.tensors()) {
    std::printf("%-24s %-5s %4ld values\n", tensor.name.c_str(), std::string(tensor.type).c_str(),
                long(tensor.count()));
  }
  const Net net(file);

  // x, then y, as PyTorch has them.
  const Rows x = read_rows(folder + "data/st_mlp_bn_f32_net.bin", 0, 9, 6);
  const Rows pytorch = read_rows(folder + "data/st_mlp_bn_f32_net.bin", 224, 9, 3);
  const Rows here = net.evaluate(x), folded = FoldedNet(net).evaluate(x);
  std::printf("\nPyTorch  %9.6f %9.6f %9.6f\n", double(pytorch(0, 0)), double(pytorch(0, 1)), double(pytorch(0, 2)));
  std::printf("here     %9.6f %9.6f %9.6f\n", double(here(0, 0)), double(here(0, 1)), double(here(0, 2)));
  std::printf("folded   %9.6f %9.6f %9.6f\n", double(folded(0, 0)), double(folded(0, 1)), double(folded(0, 2)));
  const float difference = (here - pytorch).cwiseAbs().maxCoeff(), of_folded = (folded - pytorch).cwiseAbs().maxCoeff();
  std::printf("largest differences from PyTorch: %.1g and, folded, %.1g\n", double(difference), double(of_folded));

  // What does not fit says so, by name.
  bool refused = false;
  BatchNorm<float> other(12);
  try {
    load(other, file, "1.");
  } catch (const std::invalid_argument& error) {
    std::printf("\n%s\n", error.what());
    refused = true;
  }
  const float tolerance = 1e-5F * pytorch.cwiseAbs().maxCoeff();
  return pytorch.norm() > 0 && difference < tolerance && of_folded < tolerance && refused ? 0 : 1;
}
